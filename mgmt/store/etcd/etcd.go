package etcd

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/dpmip/dpmip/mgmt/store"
)

// ErrDeposed: the lease has run out, or another replica leads. Nothing of this
// store is written any more; the process ends and waits as a replica again.
var ErrDeposed = errors.New("etcd: this replica does not lead any more")

// Config says where the cluster is. Zero fields mean what is said here.
type Config struct {
	Endpoints []string      // https://HOST:PORT, or http:// without TLS; at least one
	Prefix    string        // of every key; "dpmip/"
	Name      string        // this replica's, shown to the others
	TTL       time.Duration // of the lease: how long the others wait for a leader that is gone; whole seconds, 5 s
	TLS       *tls.Config   // nil: none
	Username  string        // empty: none
	Password  string
	Log       *slog.Logger // nil: silence
}

func (c Config) defaults() (Config, error) {
	if len(c.Endpoints) == 0 {
		return c, errors.New("etcd: no endpoint")
	}
	if c.Prefix == "" {
		c.Prefix = "dpmip/"
	}
	if !strings.HasSuffix(c.Prefix, "/") {
		c.Prefix += "/"
	}
	if c.TTL == 0 {
		c.TTL = 5 * time.Second
	}
	if c.TTL < time.Second {
		return c, fmt.Errorf("etcd: a lease of %v: want at least 1s", c.TTL)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Store is a store.Store in an etcd cluster. It implements store.Store.
type Store struct {
	cfg     Config
	client  *clientv3.Client
	session *concurrency.Session
	leader  *concurrency.Election
}

var _ store.Store = (*Store)(nil)

// Open connects, waits until this replica leads, and finishes what the leader
// before it has begun. It returns when ctx ends, too; a cluster that does not
// answer is waited for. Records that a newer program wrote are refused
// (store.ErrNewerSchema) and left as they are.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.defaults()
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg}
	// The client's own log repeats what its errors say.
	s.client, err = clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, TLS: cfg.TLS, Username: cfg.Username, Password: cfg.Password,
		DialKeepAliveTime: cfg.TTL, DialKeepAliveTimeout: cfg.TTL, Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	if err := s.lead(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// lead waits for the leadership. The lease is kept up beyond ctx.
func (s *Store) lead(ctx context.Context) (err error) {
	lease, cancel := context.WithCancel(s.client.Ctx())
	stop := context.AfterFunc(ctx, cancel)
	s.session, err = concurrency.NewSession(s.client, concurrency.WithTTL(int((s.cfg.TTL+time.Second-1)/time.Second)), concurrency.WithContext(lease))
	if !stop() {
		cancel()
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		cancel()
		return fmt.Errorf("etcd: lease at %s: %w", strings.Join(s.cfg.Endpoints, ", "), err)
	}
	s.leader = concurrency.NewElection(s.session, s.cfg.Prefix+"leader")
	if now, err := s.leader.Leader(ctx); err == nil {
		s.cfg.Log.Info("another replica leads, waiting", "leader", string(now.Kvs[0].Value))
	}
	if err := s.leader.Campaign(ctx, s.cfg.Name); err != nil {
		return fmt.Errorf("etcd: waiting to lead: %w", err)
	}
	s.cfg.Log.Info("this replica leads", "name", s.cfg.Name)
	return nil
}

// prepare checks the schema's version and finishes a pending transaction.
func (s *Store) prepare(ctx context.Context) error {
	key := s.cfg.Prefix + "schema"
	got, err := s.client.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("etcd: reading the schema's version: %w", err)
	}
	if len(got.Kvs) == 0 {
		return s.commit(clientv3.OpPut(key, string(binary.BigEndian.AppendUint32(nil, store.Schema))))
	}
	switch v := got.Kvs[0].Value; {
	case len(v) != 4:
		return fmt.Errorf("%w: schema version of %d bytes", store.ErrDamaged, len(v))
	case binary.BigEndian.Uint32(v) > store.Schema:
		return fmt.Errorf("%w: schema %d, this one knows %d", store.ErrNewerSchema, binary.BigEndian.Uint32(v), store.Schema)
	}
	return s.finish(ctx)
}

// Deposed is closed when this replica leads no more.
func (s *Store) Deposed() <-chan struct{} { return s.session.Done() }

// Close gives the leadership up, so that another replica need not wait for the
// lease to run out.
func (s *Store) Close() error {
	var errs []error
	if s.session != nil {
		errs = append(errs, s.session.Close())
	}
	if s.client != nil {
		errs = append(errs, s.client.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	return nil
}
