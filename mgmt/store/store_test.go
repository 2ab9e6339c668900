package store_test

import (
	"testing"

	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mgmt/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Opener {
		m := &store.Memory{}
		return func(*testing.T) store.Store { return m }
	})
}

func TestCloneIsABackup(t *testing.T) {
	m := &store.Memory{}
	w := store.Write{Kind: store.Node, Key: []byte("k"), Value: []byte("1")}
	if err := m.Apply([]store.Write{w}); err != nil {
		t.Fatal(err)
	}
	backup := m.Clone()
	w.Value = []byte("2")
	if err := m.Apply([]store.Write{w}); err != nil {
		t.Fatal(err)
	}
	if got := storetest.Dump(t, backup); len(got) != 1 || got[0] != "node/k=1" {
		t.Errorf("backup holds %v", got)
	}
}
