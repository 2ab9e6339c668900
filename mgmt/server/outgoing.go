package server

import (
	"context"
	"log/slog"

	"github.com/dpmip/dpmip/mobility/registration"
)

// few is how many messages the loop sends itself: to wake another thread for
// them would take longer.
const few = 8

// outgoing sends what the loop decides, in order. Many messages at once are left
// to a goroutine of their own, so that the loop decides about the next ones
// meanwhile. Its methods are the loop's.
type outgoing struct {
	to   Sender
	log  *slog.Logger
	next []registration.Send // gathered while the goroutine is busy
	busy bool
	work chan []registration.Send
	done chan []registration.Send // given back, to be used again
}

func newOutgoing(to Sender, log *slog.Logger) outgoing {
	return outgoing{to: to, log: log, work: make(chan []registration.Send, 1), done: make(chan []registration.Send, 1)}
}

// run is the goroutine; it ends when work is closed.
func (o *outgoing) run(ctx context.Context) {
	for msgs := range o.work {
		o.send(ctx, msgs)
		o.done <- msgs
	}
}

func (o *outgoing) send(ctx context.Context, msgs []registration.Send) {
	if err := o.to.Send(ctx, msgs); err != nil {
		o.log.Debug("send", "err", err)
	}
}

// flush sends what has gathered, unless the goroutine still sends earlier ones:
// what done gives back then goes to finished, and flush is to be called again.
func (o *outgoing) flush(ctx context.Context) {
	switch {
	case o.busy || len(o.next) == 0:
	case len(o.next) <= few:
		o.send(ctx, o.next)
		o.next = recycled(o.next)
	default:
		o.busy = true
		o.work <- o.next
		o.next = nil
	}
}

func (o *outgoing) finished(msgs []registration.Send) {
	o.busy = false
	if o.next == nil {
		o.next = recycled(msgs)
	}
}

// recycled empties a slice: what it holds must not be kept from the collector.
func recycled(msgs []registration.Send) []registration.Send {
	clear(msgs)
	return msgs[:0]
}
