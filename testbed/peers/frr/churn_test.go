package frr_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/peers/rig"
)

// TestChurnLeavesOthersAlone: while a VM talks, another one's host route is
// announced and withdrawn over and over, and then very many are withdrawn at
// once. The fabric settles on the last word, and the VM that stays loses nothing.
func TestChurnLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	protocols := []igp.Protocol{igp.OSPF3}
	if *long {
		protocols = igp.Protocols
	}
	each(t, protocols, func(f *fabric) {
		c := f.talk(0, 1000)
		restless := f.vm(1)
		flaps := 100
		if *long {
			flaps = 500
		}
		for i := range flaps {
			f.set(mobility.Epoch(2+2*i), hour, restless)
			f.set(mobility.Epoch(3+2*i), 0, restless)
		}
		f.set(mobility.Epoch(2+2*flaps), hour, restless)
		f.await(true, restless)
		f.set(mobility.Epoch(3+2*flaps), 0, restless)
		f.await(false, restless)
		c.more()

		all := f.vms(10, many())
		f.set(2, hour, all...)
		f.await(true, all...)
		start := time.Now()
		f.setAtOnce(3, 0, all)
		last, err := f.seen.AwaitAll(f.ctx, all, false)
		f.must(err)
		f.t.Logf("%s: %d flaps; %d host routes withdrawn at once are gone from the far kernel after %v", f.protocol, flaps, len(all), last.Sub(start).Round(time.Millisecond))
		f.await(true, f.vm(0))
		c.whole()
		f.healthy()
	})
}

// setAtOnce is set without waiting for a Reply before the next Request.
func (f *fabric) setAtOnce(epoch mobility.Epoch, life time.Duration, as []netip.Addr) {
	f.t.Helper()
	var answers []<-chan registration.Reply
	for at := 0; at < len(as); at += rig.MaxPairs {
		part := as[at:min(at+rig.MaxPairs, len(as))]
		ch, err := f.mgmt.Submit(f.ctx, "vm-"+part[0].String(), epoch, life, part...)
		f.must(err)
		answers = append(answers, ch)
	}
	for _, ch := range answers {
		select {
		case r := <-ch:
			if r.Status != mobility.StatusAccepted {
				f.t.Fatalf("status %v", r.Status)
			}
		case <-f.ctx.Done():
			f.t.Fatal("no Reply")
		}
	}
}
