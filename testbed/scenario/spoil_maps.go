package scenario

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/ti-mo/conntrack"
)

// What the sabotages need to know of the pinned maps: offsets in struct rule
// and struct dst of hwabstraction/software/bpf/types.h.
const (
	ruleFlags   = 1 // byte
	ruleHold    = 1 // bit in it
	dstDeliver  = 4 // u32: place in the map rules; 0 = none
	dstDelivers = dstDeliver + 4
)

// pinned opens a pinned map of a hypervisor.
func (r *run) pinned(hv, name string) (*ebpf.Map, error) {
	dir := filepath.Join(r.dc.Lab.Node(hv).Dir, "bpf")
	var found string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Name() == name && !e.IsDir() {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		return nil, fmt.Errorf("no map %s is pinned at %s: %w", name, hv, errors.Join(err, os.ErrNotExist))
	}
	return ebpf.LoadPinnedMap(found, nil)
}

// deliveries goes through the delivery addresses of a move.
func (m *move) deliveries() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, ds := range m.delivery {
			for _, d := range ds {
				if !yield(d) {
					return
				}
			}
		}
	}
}

// dropHold takes the hold from the delivery rules of the destination: what
// comes early goes where it would go without them.
func dropHold(_ context.Context, r *run, m *move) error {
	dsts, err := r.pinned(m.to, "dsts")
	if err != nil {
		return err
	}
	defer dsts.Close()
	rules, err := r.pinned(m.to, "rules")
	if err != nil {
		return err
	}
	defer rules.Close()
	for d := range m.deliveries() {
		key := d.As16()
		entry, err := dsts.LookupBytes(key)
		if err != nil || len(entry) < dstDelivers {
			return fmt.Errorf("delivery address %s has no rule: %w", d, err)
		}
		place := entry[dstDeliver:dstDelivers]
		rule, err := rules.LookupBytes(place)
		if err != nil || rule == nil || rule[ruleFlags]&ruleHold == 0 {
			return fmt.Errorf("the rule of %s does not hold: %w", d, err)
		}
		rule[ruleFlags] &^= ruleHold
		if err := rules.Put(place, rule); err != nil {
			return err
		}
	}
	return nil
}

// dropDelivery takes the delivery addresses out of the destination's index.
func dropDelivery(_ context.Context, r *run, m *move) error {
	dsts, err := r.pinned(m.to, "dsts")
	if err != nil {
		return err
	}
	defer dsts.Close()
	for d := range m.deliveries() {
		if err := dsts.Delete(d.As16()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// forgetFlows empties what the source knows of flows: its maps and the kernel's
// connection tracking.
func forgetFlows(_ context.Context, r *run, m *move) error {
	var c *conntrack.Conn
	err := r.dc.Lab.Node(m.from).NS.Do(func() (err error) {
		c, err = conntrack.Dial(nil)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Flush(); err != nil {
		return err
	}
	for _, name := range []string{"flows", "judged"} {
		if err := r.empty(m.from, name); err != nil {
			return err
		}
	}
	return nil
}

// empty removes every key of a pinned hash map.
func (r *run) empty(hv, name string) error {
	t, err := r.pinned(hv, name)
	if err != nil {
		return err
	}
	defer t.Close()
	for {
		key, err := t.NextKeyBytes(nil)
		if err != nil || key == nil {
			return err
		}
		if err := t.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
}
