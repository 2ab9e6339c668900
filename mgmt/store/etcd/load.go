package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dpmip/dpmip/mgmt/store"
)

// page is how many records one answer brings.
const page = 2000

func (s *Store) recordKey(k store.Kind, key []byte) string {
	return s.cfg.Prefix + "records/" + string(k) + "/" + string(key)
}

func (s *Store) pendingKey(i int) string { return fmt.Sprintf("%spending/%08d", s.cfg.Prefix, i) }

// final are answers that trying again does not change.
var final = []error{
	rpctypes.ErrNoSpace, rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrEmptyKey,
	rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrUserNotFound, rpctypes.ErrAuthNotEnabled,
}

func permanent(err error) bool {
	return slices.ContainsFunc(final, func(f error) bool { return errors.Is(err, f) })
}

// Load implements store.Store: all kinds as they were at one moment.
func (s *Store) Load(f func(store.Record) error) error {
	var revision int64
	for _, k := range store.Kinds() {
		prefix := s.recordKey(k, nil)
		err := s.each(prefix, &revision, func(key string, value []byte) error {
			return f(store.Record{Kind: k, Key: []byte(strings.TrimPrefix(key, prefix)), Value: value})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// each calls f for the keys below a prefix, ascending, as of a revision; 0 = now,
// and then it is set.
func (s *Store) each(prefix string, revision *int64, f func(key string, value []byte) error) error {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		ctx, cancel := context.WithTimeout(s.client.Ctx(), 4*s.cfg.TTL)
		got, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(*revision),
			clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
		cancel()
		if err != nil {
			return fmt.Errorf("etcd: reading below %s: %w", prefix, err)
		}
		*revision = max(*revision, got.Header.Revision)
		for _, kv := range got.Kvs {
			if err := f(string(kv.Key), append([]byte{}, kv.Value...)); err != nil {
				return err
			}
		}
		if !got.More {
			return nil
		}
		from = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
	}
}

// finish carries a pending transaction out if it is whole; one that is not was
// never acknowledged, and is thrown away.
func (s *Store) finish(ctx context.Context) error {
	var parts [][]byte
	var revision int64
	err := s.each(s.cfg.Prefix+"pending/", &revision, func(key string, value []byte) error {
		i, err := strconv.Atoi(key[strings.LastIndexByte(key, '/')+1:])
		if err != nil || i != len(parts) {
			return fmt.Errorf("%w: pending part %q after %d others", store.ErrDamaged, key, len(parts))
		}
		parts = append(parts, value)
		return nil
	})
	if err != nil || len(parts) == 0 {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	writes, whole, err := decode(parts)
	if err != nil {
		return err
	}
	if !whole {
		s.cfg.Log.Warn("a transaction that was never acknowledged is thrown away", "parts", len(parts))
		writes = nil
	}
	return s.carryOut(writes)
}
