package router

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/mobility/wire"
)

var (
	locM = netip.MustParseAddr("2001:db8:ff::1")
	locR = netip.MustParseAddr("2001:db8:f::1")
	locB = netip.MustParseAddr("2001:db8:b::1")
	locC = netip.MustParseAddr("2001:db8:c::1")
	old6 = netip.MustParseAddr("2001:db8:a:1::42")
	old4 = netip.MustParseAddr("10.1.1.42")
	vm1  = mobility.NAI("vm1@dc1.example")
	t0   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// rig is a management node's Node and a router's Core on a wire that loses
// nothing, with a FIB that fails where it is told to.
type rig struct {
	t       *testing.T
	now     time.Time
	m       *registration.Node
	core    *Core
	fail    map[netip.Addr]error
	kernel  map[netip.Addr]netip.Addr
	saved   map[netip.Addr]Route
	passed  Passed
	refused []Refused
	replies map[registration.Token]registration.Reply
	token   registration.Token
	held    []Program // programs that wait, when hold is set
	hold    bool
}

func newRig(t *testing.T, maxRoutes int) *rig {
	t.Helper()
	m, err := registration.NewNode(registration.Config{Role: registration.RoleManagement, Self: locM, Seed: 1, Heartbeat: -1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCore(Config{Node: registration.Config{Self: locR, Management: []netip.Addr{locM}, Seed: 2, Heartbeat: -1}, MaxRoutes: maxRoutes})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, now: t0, m: m, core: c, fail: map[netip.Addr]error{}, kernel: map[netip.Addr]netip.Addr{},
		saved: map[netip.Addr]Route{}, replies: map[registration.Token]registration.Reply{}}
}

func inbound(t *testing.T, from netip.Addr, s registration.Send) registration.Inbound {
	t.Helper()
	msg := new(wire.Message)
	if err := msg.Parse(s.Payload); err != nil {
		t.Fatal(err)
	}
	return registration.Inbound{From: from, Message: msg, Bytes: s.Payload, Auth: registration.AuthOK}
}

// request sends a Request from the management node and returns its Reply, or
// nil while it is owed.
func (r *rig) request(req registration.Request) *registration.Reply {
	r.t.Helper()
	r.now = r.now.Add(10 * time.Millisecond)
	r.token++
	for _, e := range r.m.Submit(r.now, r.token, locR, req, nil) {
		if s, ok := e.(registration.Send); ok {
			r.carryOut(r.core.Step(r.now, Received{Inbound: inbound(r.t, locM, s)}))
		}
	}
	if rep, ok := r.replies[r.token]; ok {
		return &rep
	}
	return nil
}

func (r *rig) carryOut(effects []Effect) {
	r.t.Helper()
	for _, e := range effects {
		switch e := e.(type) {
		case registration.Send:
			for _, me := range r.m.Receive(r.now, inbound(r.t, locR, e), nil) {
				if rep, ok := me.(registration.Replied); ok {
					r.replies[rep.Token] = rep.Reply
				}
			}
		case Program:
			if r.hold {
				r.held = append(r.held, e)
				continue
			}
			r.program(e)
		case Persist:
			for _, p := range e.Put {
				r.saved[p.Address] = p
			}
			for _, a := range e.Forget {
				delete(r.saved, a)
			}
			r.passed = e.Passed
		case Refused:
			r.refused = append(r.refused, e)
		}
	}
}

func (r *rig) program(p Program) {
	r.t.Helper()
	errs := make([]error, len(p.Changes))
	for i, ch := range p.Changes {
		if errs[i] = r.fail[ch.Address]; errs[i] != nil {
			continue
		}
		if ch.Locator.IsValid() {
			r.kernel[ch.Address] = ch.Locator
		} else {
			delete(r.kernel, ch.Address)
		}
	}
	r.carryOut(r.core.Step(r.now, Programmed{ID: p.ID, Errs: errs}))
}

func routes(epoch mobility.Epoch, locator netip.Addr, life mobility.Lifetime, addrs ...netip.Addr) registration.Request {
	req := registration.Request{VM: vm1, Handoff: mobility.HandoffMove, Lifetime: life, CareOf: locator, Epoch: epoch,
		Move: mobility.MoveOptions{Mode: mobility.ModeHot, Addresses: mobility.AddressesKeep, Redirect: mobility.RedirectRouted, New: mobility.PolicyRedirect, Phase: mobility.PhaseCommit}}
	for _, a := range addrs {
		req.Pairs = append(req.Pairs, mobility.Pair{Old: a, New: a})
		if a.Is4() {
			req.Locator4 = netip.MustParseAddr("10.2.0.1")
		}
	}
	return req
}

func (r *rig) want(what string, rep *registration.Reply, status mobility.Status) {
	r.t.Helper()
	if rep == nil {
		r.t.Fatalf("%s: no Reply", what)
	}
	if rep.Status != status {
		r.t.Errorf("%s: status %v, want %v", what, rep.Status, status)
	}
}

func TestHostRoutesComeMoveAndGo(t *testing.T) {
	r := newRig(t, 0)
	r.want("set", r.request(routes(2, locB, 100, old6, old4)), mobility.StatusAccepted)
	if r.kernel[old6] != locB || r.kernel[old4] != netip.MustParseAddr("10.2.0.1") {
		t.Errorf("kernel = %v", r.kernel)
	}
	r.want("move", r.request(routes(3, locC, 100, old6, old4)), mobility.StatusAccepted)
	if r.kernel[old6] != locC || r.saved[old6].Epoch != 3 {
		t.Errorf("kernel %v, saved %+v", r.kernel[old6], r.saved[old6])
	}
	r.want("withdraw", r.request(routes(4, locC, 0, old6, old4)), mobility.StatusAccepted)
	r.want("withdraw again", r.request(routes(4, locC, 0, old6, old4)), mobility.StatusAccepted)
	if len(r.kernel) != 0 || len(r.saved) != 0 || len(r.core.Routes()) != 0 {
		t.Errorf("left over: kernel %v, saved %v, core %v", r.kernel, r.saved, r.core.Routes())
	}
}

func TestStaleEpochsLose(t *testing.T) {
	r := newRig(t, 0)
	r.want("set", r.request(routes(5, locC, 100, old6)), mobility.StatusAccepted)
	for name, req := range map[string]registration.Request{"set": routes(4, locB, 100, old6), "withdraw": routes(4, locB, 0, old6)} {
		rep := r.request(req)
		r.want("stale "+name, rep, mobility.StatusProhibited)
		if rep.Epoch != 5 {
			t.Errorf("stale %s: the refusal names epoch %d, want 5", name, rep.Epoch)
		}
	}
	if r.kernel[old6] != locC {
		t.Errorf("kernel = %v, want %v", r.kernel[old6], locC)
	}
}

func TestStaleEpochLosesWhileTheNewerIsBeingProgrammed(t *testing.T) {
	r := newRig(t, 0)
	r.hold = true
	if rep := r.request(routes(5, locC, 100, old6)); rep != nil {
		t.Fatalf("answered before the kernel had it: %+v", rep)
	}
	r.want("stale", r.request(routes(4, locB, 100, old6)), mobility.StatusProhibited)
	r.hold = false
	r.program(r.held[0])
	r.want("the newer one", func() *registration.Reply { rep := r.replies[1]; return &rep }(), mobility.StatusAccepted)
}

func TestAnotherVMsRouteIsNotWithdrawn(t *testing.T) {
	r := newRig(t, 0)
	r.want("vm1", r.request(routes(5, locC, 100, old6)), mobility.StatusAccepted)
	other := routes(9, locB, 0, old6)
	other.VM = mobility.NAI("vm2@dc1.example")
	r.want("vm2 withdraws", r.request(other), mobility.StatusAccepted)
	if r.kernel[old6] != locC {
		t.Errorf("kernel = %v, want %v", r.kernel[old6], locC)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t, 2)
	rewrite := routes(2, locB, 100, old6)
	rewrite.Pairs[0].New = netip.MustParseAddr("2001:db8:b:d::1")
	no4 := routes(2, locB, 100, old4)
	no4.Locator4 = netip.Addr{}
	many := routes(2, locB, 100, old6, netip.MustParseAddr("2001:db8:a:1::43"), netip.MustParseAddr("2001:db8:a:1::44"))
	for name, c := range map[string]struct {
		req    registration.Request
		status mobility.Status
	}{
		"rewriting pair":  {rewrite, mobility.StatusPairMismatch},
		"no IPv4 locator": {no4, mobility.StatusForwardingFailed},
		"table full":      {many, mobility.StatusResources},
		"no pairs":        {routes(2, locB, 100), mobility.StatusMissingAddress},
	} {
		r.want(name, r.request(c.req), c.status)
	}
	if len(r.kernel) != 0 {
		t.Errorf("a refused Request left routes: %v", r.kernel)
	}
}

func TestKernelFailureIsAnsweredAndRepaired(t *testing.T) {
	r := newRig(t, 0)
	r.fail[old6] = errors.New("no buffer space")
	r.want("failing", r.request(routes(2, locB, 100, old6)), mobility.StatusForwardingFailed)
	if n := len(r.refused); n != 1 || r.refused[0].Status != mobility.StatusForwardingFailed || r.refused[0].Reason != "no buffer space" {
		t.Errorf("told of the refusal: %v", r.refused)
	}
	r.fail[old6] = fmt.Errorf("fib: %w", ErrFull)
	r.want("no room", r.request(routes(2, locB, 100, old6)), mobility.StatusResources)
	delete(r.fail, old6)
	r.want("asked again", r.request(routes(2, locB, 100, old6)), mobility.StatusAccepted)
	if r.kernel[old6] != locB || r.core.Routes()[0].Err != "" {
		t.Errorf("kernel %v, route %+v", r.kernel[old6], r.core.Routes()[0])
	}
}

func TestExpiryCutsNothingAndRestoreProgramsAll(t *testing.T) {
	r := newRig(t, 0)
	r.want("set", r.request(routes(2, locB, 1, old6)), mobility.StatusAccepted)
	r.now = r.now.Add(24 * time.Hour)
	r.carryOut(r.core.Step(r.now, Tick{}))
	if r.kernel[old6] != locB || len(r.core.Routes()) != 1 {
		t.Errorf("expiry removed the route: kernel %v", r.kernel)
	}
	again := newRig(t, 0)
	chs := again.core.Restore([]Route{r.saved[old6]}, nil)
	if len(chs) != 1 || chs[0] != (Change{Address: old6, Locator: locB}) {
		t.Errorf("Restore = %v", chs)
	}
	again.want("stale after a restart", again.request(routes(1, locC, 100, old6)), mobility.StatusProhibited)
}

// TestLateRequestAfterARestart: an install that was under way when its route was
// withdrawn comes when nothing is left that would tell so but its timestamp.
func TestLateRequestAfterARestart(t *testing.T) {
	r := newRig(t, 0)
	late := r.m.Submit(r.now, 99, locR, routes(2, locB, 100, old6), nil)
	r.want("set", r.request(routes(2, locB, 100, old6)), mobility.StatusAccepted)
	r.want("withdrawn", r.request(routes(2, locB, 0, old6)), mobility.StatusAccepted)
	if len(r.saved) != 0 || r.now.Sub(r.passed.Timestamp) > time.Millisecond { // on the wire it is rounded
		t.Fatalf("saved: routes %v, newest %v, want none and %v", r.saved, r.passed, r.now)
	}
	again := newRig(t, 0)
	again.now = r.now
	again.core.Restore(nil, []Passed{r.passed})
	for _, e := range late {
		if s, ok := e.(registration.Send); ok {
			again.carryOut(again.core.Step(again.now, Received{Inbound: inbound(t, locM, s)}))
		}
	}
	if len(again.kernel) != 0 {
		t.Errorf("the late Request brought back %v", again.kernel)
	}
	again.want("a new one", again.request(routes(2, locB, 100, old6)), mobility.StatusAccepted)
}
