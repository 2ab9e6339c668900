package switchdev

import (
	"fmt"
	"strings"

	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// render writes filters as a reader would say them, a line each.
func render(filters []wanted) string {
	var b strings.Builder
	for _, w := range filters {
		family := "ip6"
		switch {
		case w.All:
			family = "all"
		case w.IPv4:
			family = "ip4"
		}
		fmt.Fprintf(&b, "port %d chain %d prio %d %s%s ->", w.Port, w.Chain, w.Priority, family, renderMatch(w.Match))
		for _, a := range w.Actions {
			b.WriteString(" " + renderAction(a))
		}
		for _, f := range []struct {
			on   bool
			name string
		}{{w.SkipHW, "skip_hw"}, {w.SkipSW, "skip_sw"}} {
			if f.on {
				b.WriteString(" " + f.name)
			}
		}
		for _, id := range w.count {
			b.WriteString(" {" + id.String() + "}")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func renderMatch(m flower.Match) string {
	var b strings.Builder
	say := func(on bool, format string, args ...any) {
		if on {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	say(m.SourceMAC != flower.MAC{}, "smac %x", m.SourceMAC[5:])
	say(m.DestinationMAC != flower.MAC{}, "dmac %x", m.DestinationMAC[5:])
	say(m.Source.IsValid(), "src %s", m.Source)
	say(m.Destination.IsValid(), "dst %s", m.Destination)
	say(m.Protocol != 0, "proto %d", m.Protocol)
	say(m.HopLimitMask != 0, "hops %d/%#x", m.HopLimit, m.HopLimitMask)
	say(m.NoFragment, "nofrag")
	say(m.FlagsMask != 0, "flags %#x/%#x", m.Flags, m.FlagsMask)
	say(m.State == flower.Tracked|flower.Established, "est")
	say(m.Zone != 0, "zone %d", m.Zone)
	return b.String()
}

func renderAction(a flower.Action) string {
	switch a := a.(type) {
	case flower.Goto:
		return fmt.Sprintf("goto %d", a.Chain)
	case flower.Redirect:
		return fmt.Sprintf("out %d", a.Port)
	case flower.Conntrack:
		if a.Commit {
			return fmt.Sprintf("commit %d", a.Zone)
		}
		return fmt.Sprintf("ct %d", a.Zone)
	case flower.Checksum:
		return fmt.Sprintf("csum %#x", uint32(a))
	case flower.Rewrite:
		s := fmt.Sprintf("mac %x>%x", a.SourceMAC[5:], a.DestinationMAC[5:])
		if a.Destination.IsValid() {
			s += " dst " + a.Destination.String()
		}
		if a.Hop {
			s += " hop-1"
		}
		return s
	}
	return fmt.Sprintf("%T", a)
}
