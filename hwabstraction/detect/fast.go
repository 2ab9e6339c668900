package detect

import (
	"fmt"

	"github.com/dpmip/dpmip/hwabstraction"
)

// fast tells whether the switchdev backend can work here, and why: the ports
// first, then what else is missing.
func (e Environment) fast(w Want) (why []string, ok bool) {
	ok = true
	if w.SkipHW {
		why = append(why, "skip_hw: filters stay in the kernel, on any port")
	} else {
		for _, name := range w.Fabric {
			said, can := e.uplink(name)
			why, ok = append(why, name+": "+said), ok && can
		}
	}
	if !ok {
		return why, false
	}
	if w.Attach == AttachTCX {
		return append(why, "TCX was asked for, and its programs come before every filter"), false
	}
	if f := e.Features[Flower]; f.Answer == hwabstraction.No { // no action could be tried
		return append(why, "the kernel has no flower: "+f.Reason), false
	}
	for _, name := range fastPath {
		switch f := e.Features[name]; f.Answer {
		case hwabstraction.Yes:
		case hwabstraction.No:
			why, ok = append(why, "the kernel has no "+name+": "+f.Reason), false
		default:
			why, ok = append(why, "whether the kernel has "+name+" could not be found out: "+f.Reason), false
		}
	}
	return why, ok
}

// uplink tells what the hardware behind a port of the fabric can do; ok = it
// takes filters.
func (e Environment) uplink(name string) (said string, ok bool) {
	d, there, err := find(e.Netdevs, e.Fabric, name)
	switch {
	case err != nil:
		return err.Error(), false
	case !there:
		return "no such port yet", false
	case d.Kind != "":
		return "a " + d.Kind + " has no hardware", false
	}
	mode, known := e.eswitch(d)
	switch {
	case !known && d.Driver == "":
		return "the driver is not known", false
	case !known:
		return d.Driver + " has no e-switch that devlink knows", false
	case mode == "legacy":
		return fmt.Sprintf("%s (%s) is in legacy mode and has no representors: rules stay in software", d.Bus, d.Driver), false
	case mode != "switchdev":
		return fmt.Sprintf("%s (%s) does not tell its e-switch mode", d.Bus, d.Driver), false
	case d.function().Kind != Uplink:
		return fmt.Sprintf("not an uplink of %s (%s): phys_port_name is %q, phys_switch_id %q", d.Bus, d.Driver, d.PortName, d.SwitchID), false
	}
	said = fmt.Sprintf("uplink of %s (%s) in switchdev mode, %d representors", d.Bus, d.Driver, e.representors(d.SwitchID))
	if d.Offload != "on" && d.Offload != "" {
		said += ", hw-tc-offload is " + d.Offload
	}
	return said, true
}

// eswitch is the mode of the e-switch behind a port.
func (e Environment) eswitch(d Netdev) (mode string, known bool) {
	for _, s := range e.Eswitches {
		if s.Device == d.Bus {
			return s.Mode, true
		}
	}
	return "", false
}

// representors counts the ports of an e-switch that VMs may sit behind.
func (e Environment) representors(id string) (n int) {
	for _, d := range e.Netdevs {
		if d.SwitchID == id && d.function().representor() {
			n++
		}
	}
	return n
}

// switching reports whether filters of the switchdev backend are to be expected
// here: it was asked for, or there is an e-switch for them.
func (e Environment) switching() bool {
	if e.SkipHW {
		return true
	}
	for _, s := range e.Eswitches {
		if s.Mode == "switchdev" {
			return true
		}
	}
	return false
}

// fastPath looks at what filters need, where there are to be any.
func (e Environment) fastPath() (out []Check) {
	if !e.switching() {
		return nil
	}
	for _, name := range fastPath {
		if name != ClsBPF {
			out = append(out, e.feature(name, StateWarning, "load the module "+moduleOf(name)+": without it no rule goes into hardware"))
		}
	}
	for _, d := range e.Netdevs {
		out = append(out, e.offloads(d)...)
	}
	return out
}

func moduleOf(feature string) string {
	if feature == Flower {
		return "cls_flower"
	}
	return feature
}

// offloads looks at one port of an e-switch: a fabric port is always told of,
// a representor where something is not as it should be.
func (e Environment) offloads(d Netdev) (out []Check) {
	f, fabric := d.function(), false
	for _, name := range e.Fabric {
		port, ok := e.netdev(name)
		fabric = fabric || ok && port.Name == d.Name
	}
	if d.SwitchID == "" || !fabric && !f.representor() {
		return nil
	}
	c := Check{Name: "hw-tc-offload", State: StateGood, Found: fmt.Sprintf("%s (%s): %s", d.Name, f, d.Offload)}
	switch d.Offload {
	case "on":
	case "off":
		c.State, c.Advice = StateWarning, "ethtool -K "+d.Name+" hw-tc-offload on: without it its rules stay in the kernel"
	case "":
		c.State, c.Found, c.Advice = StateUnknown, d.Name+" ("+f.String()+"): the kernel does not say", "ethtool -k "+d.Name
	default:
		c.State, c.Advice = StateWarning, "its driver takes no rules: they stay in the kernel"
	}
	if fabric || c.State != StateGood {
		out = append(out, c)
	}
	if d.State == "inactive" {
		out = append(out, Check{
			Name: "port function", State: StateWarning, Found: fmt.Sprintf("%s (%s) is inactive", d.Name, f),
			Advice: "devlink port function set " + d.Name + " state active: no VM can be behind it",
		})
	}
	return out
}
