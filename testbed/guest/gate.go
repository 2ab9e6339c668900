// Package guest stands for the processes inside a VM: they run only while the
// VM does.
package guest

import (
	"sync"
	"time"

	"github.com/dpmip/dpmip/testbed/clock"
)

// Gate stops the traffic processes of one VM while it is paused. A nil Gate is
// always open: an endpoint that is no VM. It is safe for concurrent use.
type Gate struct {
	mu     sync.Mutex // guards all fields
	frozen bool
	active int
	idle   chan struct{} // closed when frozen and nobody is inside
	thawed chan struct{} // closed by Thaw
}

// Enter waits until the VM runs and then counts the caller as running, until
// Leave. It says how long it waited, and false if done was closed first.
func (g *Gate) Enter(done <-chan struct{}) (waited time.Duration, ok bool) {
	if g == nil {
		return 0, true
	}
	g.mu.Lock()
	if !g.frozen {
		g.active++
		g.mu.Unlock()
		return 0, true
	}
	start := clock.Now()
	for g.frozen {
		thawed := g.thawed
		g.mu.Unlock()
		select {
		case <-thawed:
		case <-done:
			return clock.Now() - start, false
		}
		g.mu.Lock()
	}
	g.active++
	g.mu.Unlock()
	return clock.Now() - start, true
}

// Leave ends what Enter began.
func (g *Gate) Leave() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active--
	if g.frozen && g.active == 0 {
		close(g.idle)
	}
}

// Freeze lets nobody in any more and waits until all have left. A second call
// returns at once.
func (g *Gate) Freeze() {
	g.mu.Lock()
	if g.frozen {
		g.mu.Unlock()
		return
	}
	g.frozen = true
	g.idle, g.thawed = make(chan struct{}), make(chan struct{})
	if g.active == 0 {
		close(g.idle)
	}
	idle := g.idle
	g.mu.Unlock()
	<-idle
}

// Thaw lets everybody in again.
func (g *Gate) Thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen {
		g.frozen = false
		close(g.thawed)
	}
}
