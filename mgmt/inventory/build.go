package inventory

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dpmip/dpmip/internal/peerconf"
	"github.com/dpmip/dpmip/internal/strictconf"
	"github.com/dpmip/dpmip/mobility"
)

// builder checks a file and remembers who claimed what, to name both sides of
// a clash.
type builder struct {
	src      *strictconf.Source
	inv      *Inventory
	spis     map[uint32]string
	owners   map[string]claimedName
	prefixes []claim
}

// claim is a prefix and the key where it stands.
type claim struct {
	prefix netip.Prefix
	key    string
}

func build(f *file, src *strictconf.Source) (*Inventory, error) {
	b := builder{src: src, spis: map[uint32]string{}, owners: map[string]claimedName{}, inv: &Inventory{
		Hypervisors: map[string]*Hypervisor{}, Routers: map[string]*Router{}, Observers: map[string]*Observer{},
		VMs: map[mobility.VMID]*VM{}, Sites: map[string]*Site{}, locators: map[netip.Addr]string{}, src: src, served: map[mobility.VMID]string{},
	}}
	if err := b.sites(f.Sites); err != nil {
		return nil, err
	}
	for i := range f.Hypervisors {
		if err := b.hypervisor(fmt.Sprintf("hypervisor[%d]", i), &f.Hypervisors[i]); err != nil {
			return nil, err
		}
	}
	for i := range f.Routers {
		if err := b.router(fmt.Sprintf("router[%d]", i), &f.Routers[i]); err != nil {
			return nil, err
		}
	}
	if err := b.observers(f.Observers); err != nil {
		return nil, err
	}
	for _, step := range []func(*file) error{b.references, b.vms, b.policy, b.times} {
		if err := step(f); err != nil {
			return nil, err
		}
	}
	return b.inv, nil
}

func (b *builder) sites(tables []siteTable) error {
	for i, t := range tables {
		at := fmt.Sprintf("site[%d]", i)
		switch {
		case t.Name == "":
			return b.src.Errorf(at+".name", "is empty")
		case b.inv.Sites[t.Name] != nil:
			return b.src.Errorf(at+".name", "%q is used twice", t.Name)
		}
		s := &Site{Name: t.Name}
		for _, p := range t.NAT {
			s.NAT = append(s.NAT, p.Prefix)
		}
		b.inv.Sites[t.Name] = s
	}
	return nil
}

func (b *builder) hypervisor(at string, t *hypervisorTable) error {
	locators, err := b.peer(at, t.Name, t.Locators)
	if err != nil {
		return err
	}
	if err := b.keys(at, t.Keys); err != nil {
		return err
	}
	h := &Hypervisor{Name: t.Name, Locators: locators, Router: t.Router, Site: t.Site, Keys: t.Keys}
	if t.Site != "" && b.inv.Sites[t.Site] == nil {
		return b.src.Errorf(at+".site", "no site is called %q", t.Site)
	}
	for i, p := range t.Ranges {
		if err := b.claim(fmt.Sprintf("%s.ranges[%d]", at, i), p.Prefix); err != nil {
			return err
		}
		h.Ranges = append(h.Ranges, p.Prefix)
		b.inv.ranges = append(b.inv.ranges, homed{p.Prefix, t.Name})
	}
	for i, p := range t.Pools {
		key := fmt.Sprintf("%s.pools[%d]", at, i)
		if p.Addr().Is6() && p.Bits() > 96 {
			return b.src.Errorf(key, "%s is too narrow for checksum-neutral addresses, want /96 or wider", p)
		}
		if err := b.claim(key, p.Prefix); err != nil {
			return err
		}
		h.Pools = append(h.Pools, p.Prefix)
	}
	b.inv.Hypervisors[t.Name] = h
	return nil
}

func (b *builder) router(at string, t *routerTable) error {
	if !slices.Contains([]string{"tor", "spine", "border"}, t.Role) {
		return b.src.Errorf(at+".role", "%q is not a role, want tor, spine or border", t.Role)
	}
	locators, err := b.peer(at, t.Name, t.Locators)
	if err != nil {
		return err
	}
	if err := b.keys(at, t.Keys); err != nil {
		return err
	}
	b.inv.Routers[t.Name] = &Router{Name: t.Name, Role: t.Role, Locators: locators, Uplinks: t.Uplinks, Keys: t.Keys}
	return nil
}

func (b *builder) observers(tables []observerTable) error {
	for i, t := range tables {
		key := fmt.Sprintf("observer[%d].name", i)
		switch {
		case t.Name == "":
			return b.src.Errorf(key, "is empty")
		case b.inv.Known(t.Name):
			return b.src.Errorf(key, "%q is used twice", t.Name)
		}
		b.inv.Observers[t.Name] = &Observer{t.Name}
	}
	return nil
}

// peer checks what hypervisors and routers share: the name and the locators.
func (b *builder) peer(at, name string, locators []strictconf.Addr) ([]netip.Addr, error) {
	if name == "" {
		return nil, b.src.Errorf(at+".name", "is empty")
	}
	if _, taken := b.inv.Locator(name); taken {
		return nil, b.src.Errorf(at+".name", "%q is used twice", name)
	}
	if len(locators) == 0 {
		return nil, b.src.Errorf(at+".locators", "is empty, want at least one address")
	}
	var list []netip.Addr
	for i, l := range locators {
		key := fmt.Sprintf("%s.locators[%d]", at, i)
		if l.IsUnspecified() || l.IsMulticast() || l.IsLinkLocalUnicast() {
			return nil, b.src.Errorf(key, "%s cannot be a locator", l)
		}
		if other := b.inv.locators[l.Addr]; other != "" {
			return nil, b.src.Errorf(key, "%s is already a locator of %q", l, other)
		}
		b.inv.locators[l.Addr] = name
		list = append(list, l.Addr)
	}
	v6, v4 := mobility.SplitFamilies(list)
	return append(v6, v4...), nil
}

// claim refuses a prefix that overlaps one claimed before.
func (b *builder) claim(key string, p netip.Prefix) error {
	for _, c := range b.prefixes {
		if c.prefix.Overlaps(p) {
			return b.src.Errorf(key, "%s overlaps %s of %s (line %d)", p, c.prefix, c.key, b.src.Line(c.key))
		}
	}
	b.prefixes = append(b.prefixes, claim{p, key})
	return nil
}

// maxKeys is how many keys of a peer may be live: the old and the new one.
const maxKeys = 2

// keys refuses SPIs that are reserved or used twice.
func (b *builder) keys(at string, tables []peerconf.Key) error {
	if len(tables) > maxKeys {
		return b.src.Errorf(fmt.Sprintf("%s.keys[%d]", at, maxKeys), "is one too many: a roll-over needs %d", maxKeys)
	}
	for i, t := range tables {
		key := fmt.Sprintf("%s.keys[%d]", at, i)
		for name, spi := range map[string]uint32{"send": t.Send, "receive": t.Receive} {
			if spi < 256 {
				return b.src.Errorf(key+"."+name, "SPI %d is reserved, want 256 or more", spi)
			}
		}
		for _, d := range []struct {
			name string
			spi  uint32
		}{{"send", t.Send}, {"receive", t.Receive}} {
			if other := b.spis[d.spi]; other != "" {
				return b.src.Errorf(key+"."+d.name, "SPI %d is already %s (line %d): one SPI belongs to one direction of one pair of peers", d.spi, other, b.src.Line(other))
			}
			b.spis[d.spi] = key + "." + d.name
		}
	}
	return nil
}

// references checks every name that stands for a router or hypervisor.
func (b *builder) references(f *file) error {
	for i, h := range f.Hypervisors {
		if h.Router != "" && b.inv.Routers[h.Router] == nil {
			return b.src.Errorf(fmt.Sprintf("hypervisor[%d].router", i), "no router is called %q", h.Router)
		}
	}
	for i, r := range f.Routers {
		for j, up := range r.Uplinks {
			key := fmt.Sprintf("router[%d].uplinks[%d]", i, j)
			switch {
			case up == r.Name:
				return b.src.Errorf(key, "%q cannot be its own uplink", up)
			case b.inv.Routers[up] == nil:
				return b.src.Errorf(key, "no router is called %q", up)
			}
		}
	}
	return nil
}

func (b *builder) names(key string, names []string) error {
	for i, n := range names {
		if b.inv.Hypervisors[n] == nil {
			return b.src.Errorf(fmt.Sprintf("%s[%d]", key, i), "no hypervisor is called %q", n)
		}
	}
	return nil
}

func (b *builder) vms(f *file) error {
	for i, v := range f.VMs {
		at := fmt.Sprintf("vm[%d]", i)
		if b.inv.VMs[v.ID] != nil {
			return b.src.Errorf(at+".id", "%s is listed twice", v.ID)
		}
		if err := b.names(at+".hypervisors", v.Hypervisors); err != nil {
			return err
		}
		if err := b.services(at+".services", v.Services); err != nil {
			return err
		}
		if v.Services != nil {
			b.inv.served[v.ID] = at + ".services"
		}
		if v.Standby && !allShared(v.Services) {
			return b.src.Errorf(at+".standby", "is for a VM all of whose names are shared with others")
		}
		b.inv.VMs[v.ID] = &VM{ID: v.ID, Hypervisors: v.Hypervisors, Services: v.Services, Standby: v.Standby}
	}
	return nil
}

func (b *builder) policy(f *file) error {
	p := &f.Policy
	out := Policy{
		Tickets: p.Tickets == nil || *p.Tickets, AllowUnknownVMs: p.AllowUnknownVMs,
		AdoptHigherEpochs: p.AdoptHigherEpochs, AcceptUnauthenticated: p.AcceptUnauthenticated,
		Defaults: mobility.MoveOptions{
			Mode:      orElse(p.Defaults.Mode, mobility.ModeHot),
			Addresses: orElse(p.Defaults.Addresses, mobility.AddressesKeep),
			Redirect:  orElse(p.Defaults.Redirect, mobility.RedirectTranslated),
			New:       orElse(p.Defaults.New, mobility.PolicyRedirect),
		},
	}
	if err := out.Defaults.Validate(); err != nil {
		return b.src.Errorf("policy.defaults", "%v", err)
	}
	for i, r := range p.Allow {
		at := fmt.Sprintf("policy.allow[%d]", i)
		if err := b.names(at+".from", r.From); err != nil {
			return err
		}
		if err := b.names(at+".to", r.To); err != nil {
			return err
		}
		out.Rules = append(out.Rules, MoveRule(r))
	}
	b.inv.Policy = out
	if err := b.budget(&p.Budget); err != nil {
		return err
	}
	return b.proofs(&p.Proofs)
}

func (b *builder) times(f *file) error {
	l, t := &f.Lifetimes, &f.Timers
	if t.Misses < 0 {
		return b.src.Errorf("timers.misses", "%d is negative, want 1 or more (0 = the default)", t.Misses)
	}
	b.inv.Lifetimes = Lifetimes{
		Binding: orD(l.Binding, 10*time.Minute), Redirect: orD(l.Redirect, 10*time.Minute), Route: orD(l.Route, 10*time.Minute),
		Prepare: orD(l.Prepare, time.Minute), Grace: orD(l.Grace, 10*time.Second),
		Quarantine: orD(l.Quarantine, time.Minute), History: orD(l.History, 720*time.Hour),
	}
	b.inv.Timers = Timers{
		FirstRetry: orD(t.FirstRetry, 20*time.Millisecond), Retry: orD(t.Retry, 20*time.Millisecond), MaxRetry: orD(t.MaxRetry, 32*time.Second),
		Heartbeat: orD(t.Heartbeat, time.Second), Misses: orElse(t.Misses, 3), Window: orD(t.Window, 2*time.Second),
	}
	for name, d := range map[string]time.Duration{"binding": l.Binding.D(), "redirect": l.Redirect.D(), "route": l.Route.D(), "prepare": l.Prepare.D()} {
		if d != 0 && (d < mobility.LifetimeUnit || d > 0xffff*mobility.LifetimeUnit) {
			return b.src.Errorf("lifetimes."+name, "%v does not fit the wire, want 4s to %v", d, 0xffff*mobility.LifetimeUnit)
		}
	}
	return nil
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func orD(v strictconf.Duration, def time.Duration) time.Duration { return orElse(v.D(), def) }
