package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dpmip/dpmip/mgmt/store"
)

// What one transaction of etcd may hold: its defaults are 128 operations and
// 1.5 MiB (--max-txn-ops, --max-request-bytes).
const (
	maxOps   = 120
	maxBytes = 1 << 20
)

// Apply implements store.Store. What is too large for one transaction of etcd is
// first written down whole, as pending, and then carried out; whoever leads next
// finishes it. Where that fails half way, this replica leads no more, since what
// will become of it is not its to say.
func (s *Store) Apply(writes []store.Write) error {
	size := 0
	for _, w := range writes {
		if !slices.Contains(store.Kinds(), w.Kind) {
			return fmt.Errorf("etcd: no kind %q", w.Kind)
		}
		size += len(s.cfg.Prefix) + len(w.Kind) + len(w.Key) + len(w.Value) + 32
	}
	switch writes = last(writes); {
	case len(writes) == 0:
		return nil
	case len(writes) > maxOps || size > maxBytes:
		if err := s.applyLarge(writes); err != nil {
			return errors.Join(err, s.session.Close())
		}
		return nil
	}
	return s.commit(s.ops(writes)...)
}

func (s *Store) applyLarge(writes []store.Write) error {
	parts := encode(writes)
	for i, p := range parts {
		if err := s.commit(clientv3.OpPut(s.pendingKey(i), string(p))); err != nil {
			return err
		}
	}
	return s.carryOut(writes)
}

// carryOut applies a pending transaction, and forgets it with the last step.
// Doing it twice is no harm: nothing else is written before it has ended.
func (s *Store) carryOut(writes []store.Write) error {
	for _, some := range split(writes) {
		if err := s.commit(s.ops(some)...); err != nil {
			return err
		}
	}
	return s.commit(clientv3.OpDelete(s.cfg.Prefix+"pending/", clientv3.WithPrefix()))
}

// split cuts writes so that each part fits a transaction of etcd.
func split(writes []store.Write) (out [][]store.Write) {
	size := maxBytes
	for _, w := range writes {
		n := len(w.Key) + len(w.Value) + 64
		if size+n > maxBytes || len(out[len(out)-1]) == maxOps {
			out, size = append(out, nil), 0
		}
		out[len(out)-1] = append(out[len(out)-1], w)
		size += n
	}
	return out
}

// last keeps of several writes of one key the last: a transaction of etcd may
// name a key once.
func last(writes []store.Write) []store.Write {
	at := make(map[string]int, len(writes))
	out := make([]store.Write, 0, len(writes))
	for _, w := range writes {
		key := string(w.Kind) + "/" + string(w.Key)
		if i, twice := at[key]; twice {
			out[i] = w
			continue
		}
		at[key] = len(out)
		out = append(out, w)
	}
	return out
}

func (s *Store) ops(writes []store.Write) []clientv3.Op {
	ops := make([]clientv3.Op, len(writes))
	for i, w := range writes {
		key := s.recordKey(w.Kind, w.Key)
		ops[i] = clientv3.OpDelete(key)
		if w.Value != nil {
			ops[i] = clientv3.OpPut(key, string(w.Value))
		}
	}
	return ops
}

// commit carries operations out in one transaction, as the leader. While the
// cluster does not answer it is tried again: whether a lost answer was a yes is
// not known, and twice does no harm. It ends with the leadership.
func (s *Store) commit(ops ...clientv3.Op) error {
	leads := clientv3.Compare(clientv3.CreateRevision(s.leader.Key()), "=", s.leader.Rev())
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithTimeout(s.client.Ctx(), s.cfg.TTL)
		answer, err := s.client.Txn(ctx).If(leads).Then(ops...).Commit()
		cancel()
		switch {
		case err == nil && answer.Succeeded:
			return nil
		case err == nil:
			return ErrDeposed
		case permanent(err):
			return fmt.Errorf("etcd: %w", err)
		}
		s.cfg.Log.Warn("etcd does not answer, trying again", "error", err)
		select {
		case <-s.session.Done():
			return fmt.Errorf("%w: %w", ErrDeposed, err)
		case <-time.After(pause):
		}
	}
}
