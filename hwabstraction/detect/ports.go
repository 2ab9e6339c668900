package detect

import (
	"cmp"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is what the kernel says of the machine's clock.
type Clock struct {
	Synchronised bool          `json:"synchronised"`
	MaxError     time.Duration `json:"max_error"`
}

// clockBound is how far a clock may be off before it is said: a quarter of the
// window that timestamps are accepted in, unless configured otherwise.
const clockBound = 500 * time.Millisecond

// readClock asks the kernel; nil = it does not say.
func readClock() *Clock {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return nil
	}
	return &Clock{Synchronised: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, MaxError: time.Duration(t.Maxerror) * time.Microsecond}
}

func (e Environment) clock() Check {
	c := Check{Name: "clock", State: StateGood}
	switch {
	case e.Clock == nil:
		c.State, c.Found = StateUnknown, "the kernel does not say"
	case !e.Clock.Synchronised:
		c.State, c.Found = StateWarning, "not synchronised"
	case e.Clock.MaxError > clockBound:
		c.State, c.Found = StateWarning, fmt.Sprintf("synchronised, off by up to %v", e.Clock.MaxError)
	default:
		c.Found = fmt.Sprintf("synchronised, off by at most %v", e.Clock.MaxError)
	}
	if c.State == StateWarning {
		c.Advice = "run chrony or ptp4l: timestamps order messages; until then the offset learned from the management node is used"
	}
	return c
}

// handOver is what takes a port away from Open vSwitch, but for its name.
const handOver = "two programs on one port fight; hand it over: ovs-vsctl del-port "

// ovs reports whether the kernel's part of Open vSwitch takes what the port
// receives.
func (d Netdev) ovs() bool { return d.Master == "ovs-system" }

// owned is an error where another program decides on what a port receives.
func (e Environment) owned() error {
	for _, name := range e.Fabric {
		if d, _ := e.netdev(name); d.ovs() {
			return fmt.Errorf("detect: %s is a port of Open vSwitch: %s%s", name, handOver, d.Name)
		}
	}
	return nil
}

// fabricPorts looks at the ports towards the fabric: they must be there, nobody
// else may decide on what they receive, and a strict reverse path filter would
// drop what comes for a VM from where its address is not routed to.
func (e Environment) fabricPorts() (out []Check) {
	for _, name := range e.Fabric {
		c := Check{Name: "fabric port", State: StateGood, Found: name}
		d, ok := e.netdev(name)
		if ok && d.Name != name {
			c.Found = d.Name + " is " + name
		}
		rp := max(e.Sysctls["net.ipv4.conf.all.rp_filter"], d.RPFilter)
		switch {
		case !ok:
			c.State, c.Found, c.Advice = StateBad, name+" does not exist", "name the port in device.fabric, or bring it up before the agent"
		case d.ovs():
			c.State, c.Found = StateBad, d.Name+" is a port of Open vSwitch"
			c.Advice = handOver + d.Name
		case d.Master != "":
			c.State, c.Found = StateWarning, d.Name+" belongs to "+d.Master
			c.Advice = "ip link set " + d.Name + " nomaster, or name " + d.Master + " in device.fabric"
		case rp == "1":
			c.State, c.Found = StateBad, d.Name+" has a strict reverse path filter"
			c.Advice = "sysctl -w net.ipv4.conf." + d.Name + ".rp_filter=2: it drops what comes for a VM by another way than back to its sender"
		}
		out = append(out, c)
	}
	return out
}

// eswitches: one in legacy mode forwards past the Arm cores and has no rules.
func (e Environment) eswitches() (out []Check) {
	for _, s := range e.Eswitches {
		c := Check{Name: "eswitch", State: StateGood, Found: s.Device + ": " + cmp.Or(s.Mode, "no mode told")}
		switch s.Mode {
		case "legacy":
			c.State, c.Advice = StateWarning, "devlink dev eswitch set pci/"+s.Device+" mode switchdev: without it nothing is offloaded"
		case "":
			continue // no e-switch
		}
		out = append(out, c)
	}
	return out
}

// untrackedNA is 1 or 2; before Linux 5.19 there is none.
func (e Environment) untrackedNA() Check {
	const name = "net.ipv6.conf.all.accept_untracked_na"
	if got := e.Sysctls[name]; got == "2" {
		return Check{Name: name, State: StateGood, Found: got}
	}
	return e.sysctl(name, "1", StateWarning, "a VM that announces itself is not learned")
}
