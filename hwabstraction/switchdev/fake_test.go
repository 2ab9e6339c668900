package switchdev

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/ways"
)

// diary is what happened to a device, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// read gives what was noted since the last time; repetitions are one.
func (d *diary) read() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := strings.Join(slices.Compact(d.lines), "\n")
	d.lines = nil
	return s
}

// fakeTable is a kernel's filters: it keeps them, and refuses what a test says.
type fakeTable struct {
	*diary
	mu      sync.Mutex
	ports   map[int32]bool // false: without a qdisc
	filters map[place]flower.Status
	refuse  func(tc.Request) error        // nil: nothing
	watch   func(map[place]flower.Status) // after every request; nil: nobody
	offload func(flower.Filter) bool      // what the driver takes; nil: nothing
	listing func()                        // called once when a port is listed next; nil: nothing
}

func newTable(d *diary, ports ...int32) *fakeTable {
	t := &fakeTable{diary: d, ports: map[int32]bool{}, filters: map[place]flower.Status{}}
	for _, p := range ports {
		t.ports[p] = false
	}
	return t
}

func (t *fakeTable) Attach(port int32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.ports[port]; !ok {
		return hwabstraction.ErrPortGone
	}
	t.ports[port] = true
	return nil
}

func (t *fakeTable) Apply(_ context.Context, requests []tc.Request) []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	errs := make([]error, len(requests))
	for i, r := range requests {
		errs[i] = t.one(r)
		if t.watch != nil {
			t.watch(t.filters)
		}
	}
	return errs
}

func (t *fakeTable) one(r tc.Request) error {
	at := placeOf(r.Filter)
	_, there := t.filters[at]
	attached, exists := t.ports[at.port]
	switch {
	case !exists && r.Op == tc.Delete, exists && !attached && r.Op == tc.Delete:
		return nil // with the port, or the qdisc
	case !exists:
		return hwabstraction.ErrPortGone
	case !attached:
		return tc.ErrDetached
	}
	if t.refuse != nil {
		if err := t.refuse(r); err != nil {
			return err
		}
	}
	if r.Op == tc.Delete {
		delete(t.filters, at)
	} else {
		if err := r.Filter.Validate(); err != nil {
			return err
		}
		if r.Op == tc.Put && there {
			return unix.EEXIST
		}
		s := flower.Status{Filter: r.Filter, Kind: "flower"}
		s.InHW = !r.Filter.SkipHW && t.offload != nil && t.offload(r.Filter)
		if r.Filter.SkipSW && !s.InHW {
			return hwabstraction.ErrNotSupported
		}
		t.filters[at] = s
	}
	t.note("%s", t.told(r))
	return nil
}

// told is how a request reads in the diary.
func (t *fakeTable) told(r tc.Request) string {
	gone := r.Op == tc.Delete
	switch f := r.Filter; {
	case f.Priority == gatePriority && f.Chain != entryChain:
		return map[bool]string{false: "gate closed", true: "gate opened"}[gone]
	case f.Chain == entryChain:
		return map[bool]string{false: "entry put", true: "entry removed"}[gone]
	case f.Priority == rulePriority || f.Priority == rulePriority+1:
		return map[bool]string{false: "rule put", true: "rule removed"}[gone]
	}
	return map[bool]string{false: "miss put", true: "miss removed"}[gone]
}

func (t *fakeTable) List(_ context.Context, port int32) ([]flower.Status, error) {
	t.mu.Lock()
	listing := t.listing
	t.listing = nil
	t.mu.Unlock()
	if listing != nil {
		listing()
	}
	return t.list(port, func(flower.Status) bool { return true })
}

func (t *fakeTable) ListChain(_ context.Context, port int32, chain uint32) ([]flower.Status, error) {
	return t.list(port, func(s flower.Status) bool { return s.Chain == chain })
}

func (t *fakeTable) list(port int32, chosen func(flower.Status) bool) (out []flower.Status, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.ports[port]; !ok {
		return nil, hwabstraction.ErrPortGone
	}
	for at, s := range t.filters {
		if at.port == port && chosen(s) {
			out = append(out, s)
		}
	}
	return out, nil
}

// change does something to the filters behind the device's back.
func (t *fakeTable) change(f func(filters map[place]flower.Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t.filters)
}

// find gives the places of filters in a chain at a priority.
func (t *fakeTable) find(chain uint32, priority uint16) (out []place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at := range t.filters {
		if at.chain == chain && at.priority == priority {
			out = append(out, at)
		}
	}
	return out
}

// all is every filter, as it is.
func (t *fakeTable) all() map[place]flower.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.filters)
}

func (t *fakeTable) set(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

// fakeKernel is what ways.Kernel would say.
type fakeKernel struct {
	mu      sync.Mutex
	ports   map[string]ways.Port
	hops    map[netip.Addr]ways.Hop
	exits   map[bool]ways.Exit
	changed chan struct{}
	lost    string        // of the e-switch
	untold  error         // why that cannot be told
	busy    chan struct{} // closed when that is answered again; nil: at once
	asked   func()        // called once when the exit is asked for; nil: nothing
}

func (k *fakeKernel) Port(name string) (ways.Port, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	p, ok := k.ports[name]
	if !ok {
		return p, hwabstraction.ErrPortGone
	}
	return p, nil
}

func (k *fakeKernel) Hop(to netip.Addr) (ways.Hop, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.hops[to]
	if !ok {
		return h, ways.ErrUnclear
	}
	return h, nil
}

func (k *fakeKernel) Exit(ipv4 bool) (ways.Exit, error) {
	k.mu.Lock()
	asked := k.asked
	k.asked = nil
	k.mu.Unlock()
	if asked != nil {
		asked()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.exits[ipv4]
	if !ok {
		return e, ways.ErrUnclear
	}
	return e, nil
}

func (k *fakeKernel) Eswitch() (string, error) {
	k.mu.Lock()
	busy := k.busy
	k.mu.Unlock()
	if busy != nil {
		<-busy
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost, k.untold
}

func (k *fakeKernel) Changed() <-chan struct{} { return k.changed }

// set changes what it says, and tells.
func (k *fakeKernel) set(f func(*fakeKernel)) {
	k.mu.Lock()
	f(k)
	k.mu.Unlock()
	k.changed <- struct{}{}
}

// slowPath notes when the slow path is told something.
type slowPath struct {
	hwabstraction.Device
	*diary
}

func (s slowPath) Arm(st hwabstraction.Stamp) error {
	s.note("slow: arm")
	return s.Device.Arm(st)
}

func (s slowPath) Disarm(st hwabstraction.Stamp) error {
	s.note("slow: disarm")
	return s.Device.Disarm(st)
}

func (s slowPath) Activate(st hwabstraction.Stamp) error {
	s.note("slow: activate")
	return s.Device.Activate(st)
}

func (s slowPath) GiveBack(ctx context.Context, st hwabstraction.Stamp) error {
	s.note("slow: give back")
	return s.Device.GiveBack(ctx, st)
}

func (s slowPath) Apply(ctx context.Context, changes []hwabstraction.Change) []hwabstraction.Result {
	s.note("slow: apply")
	return s.Device.Apply(ctx, changes)
}
