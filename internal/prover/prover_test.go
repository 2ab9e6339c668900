package prover

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	dpmipv1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/internal/probe"
)

// node is a Prover with its surroundings: the test is management node and
// network.
type node struct {
	*Prover
	tasks   chan *dpmipv1.ProofTask
	hangUp  chan struct{}
	reports chan *dpmipv1.ReportProofRequest

	mu   sync.Mutex // guards what follows
	down bool       // the next report is not taken
	sent []string
	held map[netip.Addr]int
	fail error         // of Catch and Send
	slow chan struct{} // Catch waits until it is closed; nil: it does not
}

func (n *node) WatchProofs(ctx context.Context, _ *dpmipv1.WatchProofsRequest, open func(), task func(*dpmipv1.ProofTask)) error {
	open()
	for {
		select {
		case t := <-n.tasks:
			task(t)
		case <-n.hangUp:
			return errors.New("hung up")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *node) ReportProof(_ context.Context, r *dpmipv1.ReportProofRequest) error {
	n.mu.Lock()
	down := n.down
	n.down = false
	n.mu.Unlock()
	if down {
		return errors.New("away")
	}
	n.reports <- r
	return nil
}

func (n *node) Send(from, to netip.Addr, _ probe.Token) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent = append(n.sent, from.String()+">"+to.String())
	return n.fail
}

func (n *node) Catch(_ context.Context, a netip.Addr) error {
	n.mu.Lock()
	slow := n.slow
	n.mu.Unlock()
	if slow != nil {
		<-slow
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail == nil {
		n.held[a]++
	}
	return n.fail
}

func (n *node) Release(a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held[a]--
}

// change sets what the node meets from now on.
func (n *node) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *node) holds() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held[here]
}

// start runs a node in the bubble of the test.
func start(t *testing.T) *node {
	n := &node{tasks: make(chan *dpmipv1.ProofTask), hangUp: make(chan struct{}), reports: make(chan *dpmipv1.ReportProofRequest, 64), held: map[netip.Addr]int{}}
	n.Prover = New(Config{Node: "a", Management: n, Sender: n, Catcher: n, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = n.Run(ctx) })
	t.Cleanup(func() { cancel(); tasks.Wait() })
	return n
}

var (
	here  = netip.MustParseAddr("2001:db8::d")
	there = netip.MustParseAddr("2001:db8::5")
	tok   = probe.Token{7}
)

func (n *node) ask(action string, lasts time.Duration) {
	n.tasks <- &dpmipv1.ProofTask{Token: tok[:], Action: action, Source: there.String(), Destination: here.String(), LastsNs: int64(lasts)}
}

// told is what has been reported since, in few words.
func (n *node) told() (out []string) {
	for {
		select {
		case r := <-n.reports:
			text := r.Node + " failed: " + r.Detail
			if r.Seen {
				text = r.Node + " saw it from " + r.Source
			}
			out = append(out, text)
		default:
			return out
		}
	}
}

func TestCatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		n.ask("catch", time.Minute)
		n.ask("catch", time.Minute) // asked again: once
		synctest.Wait()
		n.Caught(probe.Packet{Source: there, Destination: there, Token: tok})
		n.Caught(probe.Packet{Source: there, Destination: here, Token: probe.Token{8}})
		synctest.Wait()
		if got := n.told(); got != nil || n.holds() != 1 {
			t.Fatalf("told %v, holds %d", got, n.holds())
		}
		n.change(func() { n.down = true }) // the first report is lost
		n.Caught(probe.Packet{Source: there, Destination: here, Token: tok})
		time.Sleep(time.Second)
		if d := cmp.Diff([]string{"a saw it from 2001:db8::5"}, n.told()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		n.ask("cancel", 0)
		synctest.Wait()
		n.Caught(probe.Packet{Source: there, Destination: here, Token: tok})
		synctest.Wait()
		if got := n.told(); got != nil || n.holds() != 0 {
			t.Errorf("after the end: told %v, holds %d", got, n.holds())
		}
	})
}

// TestAskedAnewWhileItEnds: the end of a task that was called off is not the end
// of the one that was asked for after it, under the same token.
func TestAskedAnewWhileItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		slow := make(chan struct{})
		n.change(func() { n.slow = slow })
		n.ask("catch", time.Minute)
		synctest.Wait()
		n.ask("cancel", 0)
		n.ask("catch", time.Minute)
		n.ask("catch", time.Minute)
		synctest.Wait()
		close(slow)
		synctest.Wait()
		n.Caught(probe.Packet{Source: there, Destination: here, Token: tok})
		synctest.Wait()
		if d := cmp.Diff([]string{"a saw it from 2001:db8::5"}, n.told()); d != "" || n.holds() != 1 {
			t.Errorf("it holds %d, and has told (-want +got):\n%s", n.holds(), d)
		}
	})
}

func TestSend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		n.ask("send", 100*time.Millisecond)
		time.Sleep(time.Second)
		// At 0, 5, 15, 35, 75 ms.
		var sent []string
		n.change(func() { sent = n.sent })
		if d := cmp.Diff(slices.Repeat([]string{there.String() + ">" + here.String()}, 5), sent); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		n.change(func() { n.fail = errors.New("no route") })
		n.ask("send", time.Second)
		time.Sleep(500 * time.Millisecond)
		if d := cmp.Diff([]string{"a failed: no route"}, n.told()); d != "" {
			t.Errorf("a failure is told once (-want +got):\n%s", d)
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		n.change(func() { n.fail = errors.New("table full") })
		n.ask("catch", time.Minute)
		synctest.Wait()
		n.ask("dance", time.Minute)
		synctest.Wait()
		n.tasks <- &dpmipv1.ProofTask{Token: []byte{1}, Action: "send"} // no token: nobody to tell
		synctest.Wait()
		want := []string{"a failed: table full", `a failed: "dance" is no task of this version`}
		if d := cmp.Diff(want, n.told()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// TestHungUp: what a stream has asked for ends with it; the node comes again.
func TestHungUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		n.ask("catch", time.Minute)
		synctest.Wait()
		n.hangUp <- struct{}{}
		synctest.Wait()
		if n.holds() != 0 {
			t.Errorf("still holds %d", n.holds())
		}
		n.ask("catch", time.Minute)
		synctest.Wait()
		n.Caught(probe.Packet{Source: there, Destination: here, Token: tok})
		synctest.Wait()
		if d := cmp.Diff([]string{"a saw it from 2001:db8::5"}, n.told()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
