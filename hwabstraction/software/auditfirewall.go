package software

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// chainRules are how many rules each chain of the table has.
var chainRules = map[string]int{"large": 1, "zones": 6, "reject": 2}

// intact reports whether the table is as it was written: its chains, their
// rules, and a zone for each of these addresses and no other.
func (f *firewall) intact(zones map[netip.Addr]uint16) (bool, error) {
	f.asking.Lock()
	defer f.asking.Unlock()
	t := table()
	if _, err := f.look.ListTableOfFamily(t.Name, t.Family); errors.Is(err, unix.ENOENT) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("software: nftables: %w", err)
	}
	for chain, n := range chainRules {
		rules, err := f.look.GetRules(t, &nftables.Chain{Table: t, Name: chain})
		if err != nil {
			return false, fmt.Errorf("software: nftables: chain %s: %w", chain, err)
		}
		if len(rules) != n {
			return false, nil
		}
	}
	left := len(zones)
	for v4, s := range f.zones {
		got, err := f.look.GetSetElements(&nftables.Set{Table: t, Name: s.Name})
		if err != nil {
			return false, fmt.Errorf("software: nftables: %s: %w", s.Name, err)
		}
		for _, e := range got {
			a, ok := netip.AddrFromSlice(e.Key)
			if _, wanted := zones[a]; !ok || a.Is4() != v4 || !wanted {
				return false, nil
			}
			left--
		}
	}
	return left == 0, nil
}

// mendFirewall writes the table again where somebody has deleted or emptied it,
// as "nft flush ruleset" does. It is read without the lock, and once more with it
// where it looks wrong.
func (d *Device) mendFirewall() {
	var want map[netip.Addr]uint16
	d.locked(func() { want = d.adoptedZones() })
	if want == nil {
		return // closed
	}
	ok, err := d.nft.intact(want)
	if err != nil {
		d.log.Warn("the netfilter table is not audited", "err", err)
		return
	}
	if ok {
		return
	}
	d.locked(func() {
		if ok, err := d.nft.intact(d.adoptedZones()); ok || err != nil {
			return
		}
		d.rewriteFirewall()
	})
}

// rewriteFirewall makes the table anew that somebody has deleted or changed.
// Caller holds apply.
func (d *Device) rewriteFirewall() {
	if err := d.writeFirewall(); err != nil {
		d.log.Error("somebody has deleted or changed the netfilter table dpmip, and it cannot be written again", "err", err)
		return
	}
	d.mended.add(mendedFirewall, 1)
	d.log.Warn("somebody has deleted or changed the netfilter table dpmip: it is written again")
}

// changeZones writes zones to the kernel; where there is nothing to write them
// to, everything anew. Caller holds apply.
func (d *Device) changeZones(z zoneChange) {
	err := d.nft.change(z)
	if errors.Is(err, unix.ENOENT) {
		d.rewriteFirewall()
	} else if err != nil {
		d.log.Error("conntrack zones not written", "err", err)
	}
}
