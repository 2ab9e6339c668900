package faults

import (
	"sync"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/wire"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// TestFlood: somebody outside sends forged Requests with hypervisor A's locator
// as their source, as fast as it can, beside A's valid refreshes. Every valid
// one is answered, no answer is larger than its question allows to be wasted,
// and the traffic does not suffer.
func TestFlood(t *testing.T) {
	alone(t, scenario.Settings{}, nil, func(w *world) {
		to := w.dc.Lab.Plan.Mgmt.V6
		f := w.talk()
		before := w.snapshot()
		was := w.metrics(topology.Mgmt)
		stop := flood(w, 500)
		valid := w.asHypervisor(topology.HVA)
		vm := w.vm("vm2")
		const refreshes = 40
		answered := 0
		for range refreshes {
			status, ok := valid.ask(to, valid.request(vm.ID, func(m *wire.Message) {
				m.AddAddress(vm.Addr.V6)
				m.AddAddress(vm.Addr.V4)
				m.AddHandoffIndicator(mobility.HandoffUnchanged)
				m.AddEpoch(1)
				m.AddLinkLayerID(mobility.MAC(vm.MAC))
			}))
			if ok && status == mobility.StatusAccepted {
				answered++
			}
			w.pass(shortOr(20*time.Millisecond, 500*time.Millisecond))
		}
		sent := stop()
		if answered != refreshes {
			t.Errorf("beside %d forged Requests %d of %d valid refreshes were answered", sent, answered, refreshes)
		}
		now := w.metrics(topology.Mgmt)
		raised := func(name string) float64 { return now[name] - was[name] }
		if got := raised(mgmtTransport("drop_auth_mismatch")); got < float64(sent)/2 {
			t.Errorf("%d forged Requests were sent, %v counted as drop_auth_mismatch", sent, got)
		}
		if got := raised(mgmtTransport("drop_auth_failed_budget")); got == 0 {
			t.Errorf("the budget for failed authentications held nothing back (%d forged Requests)", sent)
		}
		if got := raised(mgmtEvent("request_auth_failed")); got == 0 || got > float64(sent)/4 {
			t.Errorf("%v of %d forged Requests were answered with 146: want some, and few", got, sent)
		}
		if after := w.snapshot(); after != before {
			t.Errorf("the flood has changed something: before\n%s\nafter\n%s", before, after)
		}
		t.Logf("%d forged Requests, %d valid refreshes answered, %v answers 146", sent, answered, raised(mgmtEvent("request_auth_failed")))
		f.whole()
	})
}

// flood sends bursts of forged Requests, one each millisecond, until it is
// stopped, and then says how many it has sent. The rate stays below what the
// lab's queues drop by themselves.
func flood(w *world, most int) (stop func() int) {
	w.t.Helper()
	a, _ := w.dc.Lab.Plan.Hypervisor(topology.HVA)
	v := w.speak(topology.CN, a.Locator.V6, w.key(w.keys(topology.HVA).toMgmt, []byte("forged")))
	forged := v.request(w.vm(mover).ID, func(m *wire.Message) {
		m.AddAddress(w.vm(mover).Addr.V6)
		m.AddHandoffIndicator(mobility.HandoffNew)
	})
	done, sent := make(chan struct{}), 0
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			for range most / 25 {
				v.say(w.dc.Lab.Plan.Mgmt.V6, forged)
				sent++
			}
		}
	})
	return func() int {
		close(done)
		running.Wait()
		return sent
	}
}
