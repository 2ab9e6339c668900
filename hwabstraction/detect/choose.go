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

// Want is what the configuration asks for.
type Want struct {
	Backend string   // Auto or "": the best there is
	Attach  string   // AttachAuto or "": the best there is
	Fabric  []string // ports towards the fabric
	SkipHW  bool     // filters of the switchdev backend stay in the kernel: any port will do
}

// Choose picks the backend for a machine. It wraps ErrNotSupported where what is
// wanted cannot be, or nothing can. It is pure.
func Choose(e Environment, w Want) (Choice, error) {
	switch w.Backend {
	case "", Auto, Software, Switchdev:
	default:
		return refused(fmt.Sprintf("there is no backend %q", w.Backend))
	}
	for _, name := range []string{"CAP_NET_ADMIN", "CAP_SYS_ADMIN"} {
		if f := e.Capabilities[name]; f.Answer == hwabstraction.No {
			return refused(name + " is missing: " + f.Reason)
		}
	}
	if f := e.Features[BPF]; f.Answer == hwabstraction.No {
		return refused("the kernel has no tc programs: " + f.Reason)
	}
	if w.Backend != Software {
		why, ok := e.fast(w)
		switch {
		case ok:
			return Choice{Backend: Switchdev, Attach: AttachClsBPF, Reasons: why}, nil
		case w.Backend == Switchdev:
			return refused("switchdev was asked for: " + strings.Join(why, "; "))
		}
		c, err := e.software(w)
		if err == nil {
			c.Reasons = append(why, c.Reasons...)
		}
		return c, err
	}
	c, err := e.software(w)
	if err == nil {
		c.Reasons = append(c.Reasons, "software was asked for")
	}
	return c, err
}

// software is the choice of the software backend.
func (e Environment) software(w Want) (Choice, error) {
	way, why, err := e.attachment(w.Attach)
	if err != nil {
		return Choice{Reasons: []string{err.Error()}}, err
	}
	return Choice{Backend: Software, Attach: way, Reasons: []string{why}}, nil
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
