package guest

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestFreezeWaitsForThoseInsideAndStopsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gate{}
		if _, ok := g.Enter(nil); !ok {
			t.Fatal("an open gate refused")
		}
		frozen := make(chan struct{})
		go func() { g.Freeze(); close(frozen) }()
		synctest.Wait()
		select {
		case <-frozen:
			t.Fatal("Freeze did not wait for the one inside")
		default:
		}
		g.Leave()
		<-frozen
		entered := make(chan bool)
		go func() { _, ok := g.Enter(nil); entered <- ok }()
		time.Sleep(time.Second) // virtual
		select {
		case <-entered:
			t.Fatal("a frozen gate let somebody in")
		default:
		}
		g.Thaw()
		if !<-entered {
			t.Error("Thaw refused the one waiting")
		}
	})
}

func TestEnterGivesUpWhenDone(t *testing.T) {
	g := &Gate{}
	g.Freeze()
	done := make(chan struct{})
	close(done)
	if _, ok := g.Enter(done); ok {
		t.Error("entered a frozen gate")
	}
	if _, ok := (*Gate)(nil).Enter(done); !ok {
		t.Error("the nil gate refused")
	}
}
