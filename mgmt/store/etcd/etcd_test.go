package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mgmt/store/storetest"
)

// cluster is a real etcd on loopback, of one member.
type cluster struct {
	t        *testing.T
	dir      string
	client   string
	peer     string
	cmd      *exec.Cmd
	prefixes int
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	at := free(t, 2)
	c := &cluster{t: t, dir: t.TempDir(), client: "http://" + at[0], peer: "http://" + at[1]}
	c.start()
	t.Cleanup(c.kill)
	return c
}

// free are addresses on loopback that nobody listens on, no two the same.
func free(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

func (c *cluster) start() {
	c.t.Helper()
	c.cmd = exec.Command("etcd", "--name", "one", "--data-dir", c.dir, "--log-level", "error",
		"--listen-client-urls", c.client, "--advertise-client-urls", c.client,
		"--listen-peer-urls", c.peer, "--initial-advertise-peer-urls", c.peer, "--initial-cluster", "one="+c.peer)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatalf("etcd (Debian package etcd-server): %v", err)
	}
}

func (c *cluster) kill() {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait() // killed
		c.cmd = nil
	}
}

// config has a prefix of its own at each call.
func (c *cluster) config() Config {
	c.prefixes++
	return Config{Endpoints: []string{c.client}, Prefix: fmt.Sprintf("test%d", c.prefixes), Name: "replica", TTL: time.Second}
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // most have closed it; etcd may be gone
	return s
}

func write(key, value string) store.Write {
	return store.Write{Kind: store.Bindings, Key: []byte(key), Value: []byte(value)}
}

func expect(t *testing.T, s store.Store, want ...string) {
	t.Helper()
	if got := storetest.Dump(t, s); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("records %v, want %v", got, want)
	}
}

func TestConformance(t *testing.T) {
	c := newCluster(t)
	storetest.Run(t, func(*testing.T) storetest.Opener {
		cfg := c.config()
		return func(t *testing.T) store.Store { return open(t, cfg) }
	})
}

// TestOneLeads: the second replica gets what the first has written, once that
// lets go.
func TestOneLeads(t *testing.T) {
	cfg := newCluster(t).config()
	first := open(t, cfg)
	if err := first.Apply([]store.Write{write("vm1", "a")}); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if s, err := Open(short, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second replica leads beside the first: %v, %v", s, err)
	}
	opened := make(chan *Store, 1)
	go func() { s, _ := Open(t.Context(), cfg); opened <- s }()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := <-opened
	if second == nil {
		t.Fatal("the second replica did not open")
	}
	defer second.Close()
	expect(t, second, "bindings/vm1=a")
}

// TestDeposed: what a replica writes that has lost its lease without knowing is
// refused by etcd.
func TestDeposed(t *testing.T) {
	cfg := newCluster(t).config()
	first := open(t, cfg)
	if err := first.Apply([]store.Write{write("vm1", "a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := first.client.Revoke(t.Context(), first.session.Lease()); err != nil {
		t.Fatal(err)
	}
	second := open(t, cfg)
	if err := second.Apply([]store.Write{write("vm1", "b")}); err != nil {
		t.Fatal(err)
	}
	for _, w := range [][]store.Write{{write("vm1", "late")}, many(1000, "late")} {
		if err := first.Apply(w); !errors.Is(err, ErrDeposed) {
			t.Errorf("%d late writes: %v, want ErrDeposed", len(w), err)
		}
	}
	<-first.Deposed()
	expect(t, second, "bindings/vm1=b")
}

// TestRestart: a cluster that is away for less than the lease costs time only.
func TestRestart(t *testing.T) {
	c := newCluster(t)
	cfg := c.config()
	cfg.TTL = 30 * time.Second
	s := open(t, cfg)
	c.kill()
	done := make(chan error, 1)
	go func() { done <- s.Apply([]store.Write{write("vm1", "a")}) }()
	c.start()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	expect(t, s, "bindings/vm1=a")
}

// TestAway: without a cluster the lease runs out, and nothing is promised.
func TestAway(t *testing.T) {
	c := newCluster(t)
	s := open(t, c.config())
	c.kill()
	if err := s.Apply([]store.Write{write("vm1", "a")}); !errors.Is(err, ErrDeposed) {
		t.Errorf("Apply without etcd: %v, want ErrDeposed", err)
	}
	<-s.Deposed()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, c.config()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), c.client) {
		t.Errorf("Open without etcd: %v, want a deadline and the endpoint", err)
	}
}

func many(n int, value string) (w []store.Write) {
	for i := range n {
		w = append(w, write(fmt.Sprintf("vm%06d", i), value))
	}
	return w
}

// TestLarge: more than etcd takes at once is there whole, whenever the replica
// dies, or not at all.
func TestLarge(t *testing.T) {
	c := newCluster(t)
	big := strings.Repeat("x", 3000)
	writes := append(many(2000, big), write("vm000000", "last"))
	for name, steps := range map[string]int{"all": -1, "one part of several": 1, "all parts": len(encode(last(writes)))} {
		t.Run(name, func(t *testing.T) {
			cfg := c.config()
			s := open(t, cfg)
			if err := s.Apply(many(2000, "old")); err != nil {
				t.Fatal(err)
			}
			if steps < 0 {
				if err := s.Apply(writes); err != nil {
					t.Fatal(err)
				}
			}
			for i, p := range encode(last(writes))[:max(steps, 0)] { // and then it dies
				if err := s.commit(clientv3.OpPut(s.pendingKey(i), string(p))); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			got := storetest.Dump(t, open(t, cfg))
			first, next := "bindings/vm000000=last", "bindings/vm000001="+big
			if steps == 1 {
				first, next = "bindings/vm000000=old", "bindings/vm000001=old"
			}
			if len(got) != 2000 || got[0] != first || got[1] != next {
				t.Errorf("%d records; %.40q and %.40q, want %.40q and %.40q", len(got), got[0], got[1], first, next)
			}
		})
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	cfg := newCluster(t).config()
	s := open(t, cfg)
	if err := s.commit(clientv3.OpPut(s.cfg.Prefix+"schema", string([]byte{0, 0, 0, store.Schema + 1}))); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg); !errors.Is(err, store.ErrNewerSchema) {
		t.Errorf("err = %v, want ErrNewerSchema", err)
	}
}

func TestPendingParts(t *testing.T) {
	whole := encode(many(3, "v"))
	if w, ok, err := decode(whole); err != nil || !ok || len(w) != 3 || string(w[2].Value) != "v" {
		t.Errorf("decode(encode) = %v, %t, %v", w, ok, err)
	}
	for n := 1; n < len(whole[0]); n++ {
		w, _, err := decode([][]byte{whole[0][:n]})
		if err == nil && len(w) == 3 {
			t.Errorf("cut after %d bytes: three writes", n)
		}
		if err != nil && !errors.Is(err, store.ErrDamaged) {
			t.Errorf("cut after %d bytes: %v, want ErrDamaged", n, err)
		}
	}
	if _, _, err := decode([][]byte{whole[0], whole[0]}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a part after the last: %v, want ErrDamaged", err)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {Endpoints: []string{"http://127.0.0.1:1"}, TTL: time.Millisecond}} {
		if s, err := Open(t.Context(), c); err == nil {
			t.Errorf("Open(%+v) = %v, want an error", c, s)
		}
	}
}
