package store

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// Kind separates records; a key is unique within its kind.
type Kind string

// The kinds in use.
const (
	Bindings Kind = "bindings" // key: VM identifier
	Moves    Kind = "moves"    // key: VM identifier, 0, epoch
	Peers    Kind = "peers"    // key: name of a hypervisor or router
	Names    Kind = "names"    // key: VM identifier; what the DNS is to say
	Node     Kind = "node"     // the management node's own: restart counter, clock
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{Bindings, Moves, Peers, Names, Node} }

// Schema is the version of the records; a store written by a newer program is
// refused.
const Schema = 1

// Errors that callers branch on.
var (
	ErrNewerSchema = errors.New("store: written by a newer version of this program")
	ErrDamaged     = errors.New("store: damaged")
)

// Write puts Value under Key, or deletes the record where Value is nil.
type Write struct {
	Kind  Kind
	Key   []byte
	Value []byte
}

// Record is one stored record.
type Record struct {
	Kind  Kind
	Key   []byte
	Value []byte
}

// Store is implemented by the backends. Calls come from one goroutine at a time.
type Store interface {
	// Apply makes all writes durable in one transaction, or none of them.
	Apply([]Write) error
	// Load calls f for every record, kind by kind in the order of Kinds, keys
	// ascending. The record's bytes belong to f.
	Load(f func(Record) error) error
	Close() error
}

// Memory is a Store that forgets: for tests and simulations. Its zero value is
// empty and ready. It may be copied by Clone, as a backup would.
type Memory struct {
	mu      sync.Mutex // guards what follows
	records map[Kind]map[string][]byte
	fail    error
}

// FailWith makes every further Apply return err and change nothing; nil ends it.
func (m *Memory) FailWith(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Apply implements Store.
func (m *Memory) Apply(writes []Write) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if m.records == nil {
		m.records = map[Kind]map[string][]byte{}
	}
	for _, w := range writes {
		if m.records[w.Kind] == nil {
			m.records[w.Kind] = map[string][]byte{}
		}
		if w.Value == nil {
			delete(m.records[w.Kind], string(w.Key))
			continue
		}
		m.records[w.Kind][string(w.Key)] = slices.Clone(w.Value)
	}
	return nil
}

// Load implements Store.
func (m *Memory) Load(f func(Record) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, kind := range Kinds() {
		for _, key := range slices.Sorted(maps.Keys(m.records[kind])) {
			if err := f(Record{kind, []byte(key), slices.Clone(m.records[kind][key])}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close implements Store.
func (m *Memory) Close() error { return nil }

// Clone copies the store as it is now.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Memory{records: map[Kind]map[string][]byte{}}
	for k, recs := range m.records {
		c.records[k] = maps.Clone(recs)
	}
	return c
}
