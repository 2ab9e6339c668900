package detect

import (
	"fmt"
	"strings"

	"github.com/dpmip/dpmip/hwabstraction"
)

// Backends.
const (
	Auto      = "auto"
	Software  = "software"
	Switchdev = "switchdev"
)

// Ways to attach programs.
const (
	AttachAuto   = "auto"
	AttachTCX    = "tcx"
	AttachClsBPF = "cls_bpf"
)

// Choice is which backend to use and how.
type Choice struct {
	Backend string // "" where none can work
	Attach  string
	Reasons []string // one sentence each, the deciding one first
}

// Reason is all reasons in one line.
func (c Choice) Reason() string { return strings.Join(c.Reasons, "; ") }

// Choose picks the backend for a machine whose fabric ports are these. backend
// and attach are what the configuration wants, Auto or "" for the best there is.
// It wraps ErrNotSupported where what is wanted cannot be, or nothing can. It
// is pure.
func Choose(e Environment, fabric []string, backend, attach string) (Choice, error) {
	if backend == Switchdev {
		return refused("the switchdev backend is not part of this release")
	}
	if backend != "" && backend != Auto && backend != Software {
		return refused(fmt.Sprintf("there is no backend %q", backend))
	}
	for _, name := range []string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN"} {
		if f := e.Capabilities[name]; f.Answer == hwabstraction.No {
			return refused(name + " is missing: " + f.Reason)
		}
	}
	if f := e.Features[BPF]; f.Answer == hwabstraction.No {
		return refused("the kernel has no tc programs: " + f.Reason)
	}
	way, why, err := e.attachment(attach)
	if err != nil {
		return Choice{Reasons: []string{err.Error()}}, err
	}
	c := Choice{Backend: Software, Attach: way, Reasons: []string{why}}
	if backend == Software {
		c.Reasons = append(c.Reasons, "software was asked for")
		return c, nil
	}
	c.Reasons = append(e.hardware(fabric), c.Reasons...)
	return c, nil
}

func refused(why string) (Choice, error) {
	return Choice{Reasons: []string{why}}, fmt.Errorf("detect: %s: %w", why, hwabstraction.ErrNotSupported)
}

// attachment is how programs get onto ports.
func (e Environment) attachment(want string) (way, why string, err error) {
	tcx, cls := e.Features[TCX], e.Features[ClsBPF]
	switch want {
	case AttachTCX:
		if tcx.Answer == hwabstraction.No {
			_, err = refused("TCX was asked for and is not there: " + tcx.Reason)
		}
		return AttachTCX, "TCX was asked for", err
	case AttachClsBPF:
		if cls.Answer == hwabstraction.No {
			_, err = refused("cls_bpf was asked for and is not there: " + cls.Reason)
		}
		return AttachClsBPF, "cls_bpf was asked for", err
	case "", AttachAuto:
	default:
		_, err = refused(fmt.Sprintf("there is no way to attach called %q", want))
		return "", "", err
	}
	switch {
	case tcx.Answer == hwabstraction.Yes:
		return AttachTCX, "programs by TCX", nil
	case cls.Answer == hwabstraction.Yes:
		return AttachClsBPF, "programs by cls_bpf, no TCX: " + tcx.Reason, nil
	case tcx.Answer == hwabstraction.Unknown || cls.Answer == hwabstraction.Unknown:
		return AttachAuto, "how to attach programs is found out when it is done", nil
	}
	_, err = refused("neither TCX nor cls_bpf: " + tcx.Reason + "; " + cls.Reason)
	return "", "", err
}

// hardware says why no rule goes into hardware, port by port.
func (e Environment) hardware(fabric []string) (why []string) {
	for _, name := range fabric {
		d, ok := e.netdev(name)
		if !ok {
			why = append(why, name+": no such port yet")
			continue
		}
		why = append(why, name+": "+e.offload(d))
	}
	return why
}

// offload tells what a port's hardware could do and why it does not.
func (e Environment) offload(d Netdev) string {
	if d.Kind != "" {
		return "a " + d.Kind + " has no hardware"
	}
	for _, s := range e.Eswitches {
		if s.Device != d.Bus {
			continue
		}
		switch s.Mode {
		case "switchdev":
			return fmt.Sprintf("%s (%s) is in switchdev mode, which this release cannot program: rules stay in software", s.Device, d.Driver)
		case "legacy":
			return fmt.Sprintf("%s (%s) is in legacy mode and has no representors: rules stay in software", s.Device, d.Driver)
		}
		return fmt.Sprintf("%s (%s) does not tell its e-switch mode", s.Device, d.Driver)
	}
	if d.Driver == "" {
		return "the driver is not known"
	}
	return d.Driver + " has no e-switch that devlink knows"
}
