package faults

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// TestDamagedStores: a program whose store is truncated, is no store, or was
// written by a newer version ends with an error that names the file, leaves the
// file as it is and forwarding alone. With the old file it goes on.
func TestDamagedStores(t *testing.T) {
	var cases []testCase
	for _, p := range []struct{ node, program, file, bucket, key string }{
		{topology.Mgmt, "dpmip-mgmt", "mgmt.db", "schema", "version"},
		{topology.Spine, "dpmip-router", "router.db", "meta", "version"},
		{topology.HVB, "dpmip-agent", "agent.db", "meta", "version"},
	} {
		for _, d := range []struct {
			name, want string
			damage     func(w *world, path string, whole []byte)
		}{
			{"truncated", "truncated", func(w *world, path string, whole []byte) { w.must(os.WriteFile(path, whole[:5*4096], 0o600)) }},
			{"a page only", "damaged", func(w *world, path string, whole []byte) { w.must(os.WriteFile(path, whole[:4096], 0o600)) }},
			{"garbage", "damaged", func(w *world, path string, whole []byte) {
				w.must(os.WriteFile(path, []byte(strings.Repeat("not a store ", 1000)), 0o600))
			}},
			{"of a newer version", "newer", func(w *world, path string, _ []byte) { newer(w, path, p.bucket, p.key, p.program) }},
		} {
			cases = append(cases, testCase{p.file + " " + d.name, func(w *world) {
				damaged(w, p.node, p.program, p.file, d.want, d.damage)
			}})
		}
	}
	family(t, scenario.Settings{}, func(w *world) {}, cases)
}

func damaged(w *world, node, program, file, want string, damage func(*world, string, []byte)) {
	w.t.Helper()
	if w.at == topology.HVA {
		w.routed().prepare().finish()
	}
	f := w.talk()
	path := filepath.Join(w.dir(node), "state", file)
	w.kill(node)
	whole, err := os.ReadFile(path)
	w.must(err)
	damage(w, path, whole)
	bad, err := os.ReadFile(path)
	w.must(err)
	said, err := w.refused(node, program, w.config(node))
	if err == nil || !strings.Contains(said, path) || !strings.Contains(said, want) {
		w.t.Errorf("%s on a damaged %s: %v, it said %q; want an error with the file's name and %q", program, file, err, said, want)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(bad) {
		w.t.Errorf("%s has changed the file that it refused: %v", program, err)
	}
	f.more(program + " does not start")
	w.must(os.WriteFile(path, whole, 0o600))
	w.start(node)
	w.eventually("bindings are as they were", func() string {
		if b := w.binding(w.vm(mover).ID); b.Hypervisor != w.at {
			return "the mover is at " + b.Hypervisor
		}
		return ""
	})
	f.more(program + " is back")
	f.whole()
}

// newer raises the version in a store.
func newer(w *world, path, bucket, key, program string) {
	w.t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	w.must(err)
	value := binary.BigEndian.AppendUint32(nil, 99)
	if program == "dpmip-router" {
		value = []byte("99")
	}
	w.must(db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte(key), value) }))
	w.must(db.Close())
}
