package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/mgmt/store"
)

// Opener opens the store under test; called again after Close it must find
// what was applied.
type Opener func(t *testing.T) store.Store

// Run runs the suite; each test calls fresh for an Opener of an empty store.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for name, test := range map[string]func(*testing.T, Opener){
		"empty": empty, "survives closing": survives, "replaces and deletes": replaces,
		"all or nothing": atomic, "order": order, "many": many, "load stops": stops,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// Dump lists the records as "kind/key=value".
func Dump(t *testing.T, s store.Store) []string {
	t.Helper()
	var out []string
	err := s.Load(func(r store.Record) error {
		out = append(out, fmt.Sprintf("%s/%s=%s", r.Kind, r.Key, r.Value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func put(k store.Kind, key, value string) store.Write {
	return store.Write{Kind: k, Key: []byte(key), Value: []byte(value)}
}

func apply(t *testing.T, s store.Store, w ...store.Write) {
	t.Helper()
	if err := s.Apply(w); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, s store.Store, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, Dump(t, s)); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
}

func empty(t *testing.T, open Opener) {
	s := open(t)
	defer s.Close()
	apply(t, s)
	expect(t, s)
}

func survives(t *testing.T, open Opener) {
	s := open(t)
	apply(t, s, put(store.Bindings, "vm1", "a"), put(store.Moves, "vm1", "b"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t)
	defer s.Close()
	expect(t, s, "bindings/vm1=a", "moves/vm1=b")
}

func replaces(t *testing.T, open Opener) {
	s := open(t)
	defer s.Close()
	apply(t, s, put(store.Peers, "x", "1"), put(store.Peers, "y", "1"))
	apply(t, s, put(store.Peers, "x", "2"), store.Write{Kind: store.Peers, Key: []byte("y")}, store.Write{Kind: store.Peers, Key: []byte("absent")})
	expect(t, s, "peers/x=2")
}

func atomic(t *testing.T, open Opener) {
	s := open(t)
	defer s.Close()
	apply(t, s, put(store.Node, "k", "1"))
	switch m := s.(type) {
	case *store.Memory:
		m.FailWith(errors.New("full"))
		defer m.FailWith(nil)
		if err := s.Apply([]store.Write{put(store.Node, "k", "2"), put(store.Node, "j", "2")}); err == nil {
			t.Error("a failing store accepted a transaction")
		}
	default:
		if err := s.Apply([]store.Write{put(store.Node, "k", "2"), put("no such kind", "j", "2")}); err == nil {
			t.Error("a write of an unknown kind was accepted")
		}
	}
	expect(t, s, "node/k=1")
}

func order(t *testing.T, open Opener) {
	s := open(t)
	defer s.Close()
	apply(t, s, put(store.Node, "z", ""), put(store.Moves, "b\x00\x01", "2"), put(store.Moves, "b\x00\x00", "1"), put(store.Bindings, "q", "3"))
	expect(t, s, "bindings/q=3", "moves/b\x00\x00=1", "moves/b\x00\x01=2", "node/z=")
}

func many(t *testing.T, open Opener) {
	s := open(t)
	defer s.Close()
	const n = 2000
	var w []store.Write
	for i := range n {
		w = append(w, put(store.Bindings, fmt.Sprintf("vm%05d", i), "value"))
	}
	apply(t, s, w...)
	if got := len(Dump(t, s)); got != n {
		t.Errorf("%d records, want %d", got, n)
	}
}

func stops(t *testing.T, open Opener) {
	s := open(t)
	defer s.Close()
	apply(t, s, put(store.Node, "a", "1"), put(store.Node, "b", "1"))
	stop, calls := errors.New("stop"), 0
	err := s.Load(func(store.Record) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("err = %v after %d calls", err, calls)
	}
}
