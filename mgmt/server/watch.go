package server

import (
	"context"

	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

// watchBuffer is how many changes a watcher may be behind before it loses the
// oldest.
const watchBuffer = 64

// watchers are those who follow a VM's moves. Only the loop touches it.
type watchers map[chan *mgmt.Move]mobility.VMID

func (w watchers) tell(m *mgmt.Move) {
	for ch, vm := range w {
		if vm != m.VM {
			continue
		}
		select {
		case ch <- m:
		default: // slow: the newest record says it all
			select {
			case <-ch:
			default:
			}
			ch <- m // only the loop sends, so there is room now
		}
	}
}

// Watch calls f with the record of the VM's move at the epoch (0 = the newest),
// now and each time it is changed, until f returns false or ctx ends. An open
// move whose epoch jumps is followed under its new one.
func (l *Loop) Watch(ctx context.Context, vm mobility.VMID, e mobility.Epoch, f func(*mgmt.Move) bool) error {
	ch := make(chan *mgmt.Move, watchBuffer)
	var now *mgmt.Move
	err := l.Do(ctx, func(c *mgmt.Core) {
		if now = c.Move(vm, e); now != nil {
			l.watch[ch] = vm
		}
	})
	if err != nil {
		return err
	}
	if now == nil {
		return mgmt.ErrUnknown
	}
	defer func() { _ = l.Do(context.WithoutCancel(ctx), func(*mgmt.Core) { delete(l.watch, ch) }) }()
	e = now.Epoch
	for more := f(now); more; {
		select {
		case m := <-ch:
			if m.Epoch == e || jumped(m, e) {
				e = m.Epoch
				more = f(m)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-l.stopped:
			return ErrStopping
		}
	}
	return nil
}

// jumped reports whether the move had the epoch before.
func jumped(m *mgmt.Move, e mobility.Epoch) bool {
	for _, p := range m.Phases {
		if p.Name == mgmt.PhaseEpochJumped && m.Epoch > e {
			return true
		}
	}
	return false
}
