package mgmt

import (
	"slices"

	"github.com/dpmip/dpmip/mgmt/store"
	"github.com/dpmip/dpmip/mobility"
)

// txn gathers what one Step changes: at its end all of it becomes one Commit,
// and what hangs on it waits for that Commit to be durable.
type txn struct {
	c        *Core
	id       uint64
	bindings edits            // changed, not yet in the cache
	moves    map[moveID]*Move // likewise; nil = deleted
	writes   []store.Write    // of other records
	touched  []mobility.VMID  // whose messages are to be looked at afterwards

	// The order in which moves were changed first: a map's would make two runs
	// of one schedule differ.
	moveOrder []moveID

	then []func()      // when durable
	fail []func(error) // when it never will be
	undo []func()      // take back what is no binding; newest last
}

// binding is the VM's record as this Step sees it, or nil. It must not be
// changed; see edit.
func (t *txn) binding(vm mobility.VMID) *Binding {
	if e := t.bindings.find(vm); e != nil {
		return e.b
	}
	return t.c.bindings[vm]
}

// edit gives a record of the VM that may be changed until the Step ends; a new
// one if there is none.
func (t *txn) edit(vm mobility.VMID) *Binding {
	e := t.bindings.find(vm)
	switch {
	case e == nil:
		e = t.bindings.add(vm, t.c.bindings[vm])
		t.touch(vm)
	case e.b != nil:
		return e.b
	}
	if e.old != nil {
		e.b = e.old.clone()
	} else {
		e.b = &Binding{VM: vm}
	}
	return e.b
}

func (t *txn) move(vm mobility.VMID, e mobility.Epoch) *Move {
	if e == 0 {
		return nil
	}
	id := moveID{vm, e}
	if m, ok := t.moves[id]; ok {
		return m
	}
	return t.c.moves[id]
}

// editMove is edit for an existing move; nil if there is none.
func (t *txn) editMove(vm mobility.VMID, e mobility.Epoch) *Move {
	id := moveID{vm, e}
	if m, ok := t.moves[id]; ok {
		return m
	}
	old := t.c.moves[id]
	if old == nil {
		return nil
	}
	m := old.clone()
	t.putMove(m)
	return m
}

func (t *txn) putMove(m *Move) { t.setMove(moveID{m.VM, m.Epoch}, m) }

func (t *txn) deleteMove(id moveID) { t.setMove(id, nil) }

func (t *txn) setMove(id moveID, m *Move) {
	if _, ok := t.moves[id]; !ok {
		if t.moves == nil {
			t.moves = map[moveID]*Move{}
		}
		t.moveOrder = append(t.moveOrder, id)
	}
	t.moves[id] = m
	t.touch(id.vm)
}

// remove deletes the VM's record.
func (t *txn) remove(vm mobility.VMID) {
	t.edit(vm)
	t.bindings.find(vm).b = nil
}

// touch asks for the VM's owed messages to be looked at once this is durable.
func (t *txn) touch(vm mobility.VMID) {
	if !slices.Contains(t.touched[max(0, len(t.touched)-touchWindow):], vm) {
		t.touched = append(t.touched, vm)
	}
}

// touchWindow bounds the search for repetitions: looking at a VM twice is
// harmless.
const touchWindow = 8

// flush puts the changes into the cache and asks for them to be made durable.
func (t *txn) flush() {
	c := t.c
	for i := range t.bindings.list {
		c.names(t.bindings.list[i].vm)
	}
	for _, e := range t.bindings.list {
		if e.b == nil {
			t.writes = append(t.writes, store.Write{Kind: store.Bindings, Key: bindingKey(e.vm)})
		} else {
			t.writes = append(t.writes, encodeBinding(e.b))
		}
		c.setBinding(e.vm, e.b)
	}
	for _, id := range t.moveOrder {
		t.flushMove(id, t.moves[id])
	}
	if len(t.writes) == 0 {
		t.finish()
		return
	}
	for _, vm := range t.touched {
		c.vol(vm).pending++
	}
	c.commit++
	t.id = c.commit
	c.pending = append(c.pending, t)
	c.emit(Commit{t.id, t.writes})
	t.writes = nil
}

func (t *txn) flushMove(id moveID, m *Move) {
	c, old := t.c, t.c.moves[id]
	t.undo = append(t.undo, func() { c.setMove(id, old) })
	c.setMove(id, m)
	if m == nil {
		t.writes = append(t.writes, store.Write{Kind: store.Moves, Key: moveKey(id)})
		return
	}
	if m.State >= MoveCommitted && m.State <= MoveDone || m.State == MoveAborted {
		if err := sign(c.cfg.Key, c.now, m); err != nil {
			c.emit(Note{Warning: true, Text: err.Error(), VM: m.VM, Epoch: m.Epoch})
		}
	}
	t.writes = append(t.writes, encode(store.Moves, moveKey(id), m))
	t.then = append(t.then, func() { c.emit(MoveChanged{m}) })
}

// finish does what waited for the Commit.
func (t *txn) finish() {
	for _, f := range t.then {
		f()
	}
	for _, vm := range t.touched {
		t.c.sync(vm)
	}
}

// committed releases what waited for the Commits up to through.
func (c *Core) committed(through uint64) {
	for len(c.pending) > 0 && c.pending[0].id <= through {
		t := c.pending[0]
		c.pending = c.pending[1:]
		for _, vm := range t.touched {
			c.vol(vm).pending--
		}
		t.finish()
	}
}

// commitFailed takes back every Commit from this one on, the newest first:
// nothing of it was promised to anyone yet.
func (c *Core) commitFailed(from uint64, err error) {
	c.emit(Count{Name: "store_failures"})
	c.emit(Note{Warning: true, Text: "the store failed: " + err.Error()})
	c.stall = c.now.Add(stallTime)
	for len(c.pending) > 0 && c.pending[len(c.pending)-1].id >= from {
		t := c.pending[len(c.pending)-1]
		c.pending = c.pending[:len(c.pending)-1]
		t.takeBack()
		for _, vm := range t.touched {
			c.vol(vm).pending--
			c.wakeAt(vm, c.stall)
		}
		for _, f := range t.fail {
			f(err)
		}
	}
}

// insist does what has to follow from something that nobody will tell again. If
// it cannot be made durable, it is done anew when the store may take it: f must
// look at what is so then.
func (c *Core) insist(f func()) {
	f()
	c.tx.fail = append(c.tx.fail, func(error) { c.redo = append(c.redo, func() { c.insist(f) }) })
}

// doAgain does what could not be made durable, in the order in which it happened.
func (c *Core) doAgain() {
	if len(c.redo) == 0 || c.now.Before(c.stall) {
		return
	}
	list := c.redo // the newest first, see commitFailed
	c.redo = nil
	for _, f := range slices.Backward(list) {
		f()
	}
}

// takeBack puts into the cache what was there before.
func (t *txn) takeBack() {
	for _, f := range slices.Backward(t.undo) {
		f()
	}
	for _, e := range slices.Backward(t.bindings.list) {
		t.c.setBinding(e.vm, e.old)
	}
}

// setBinding replaces a record in the cache and its entries in the indices.
func (c *Core) setBinding(vm mobility.VMID, b *Binding) {
	if old := c.bindings[vm]; old != nil {
		old.addresses(func(a addr) { delete(c.byAddr, a) })
		if hosts := c.byHost[old.Hypervisor]; hosts != nil {
			delete(hosts, vm)
		}
	}
	if b == nil {
		delete(c.bindings, vm)
		return
	}
	c.bindings[vm] = b
	b.addresses(func(a addr) { c.byAddr[a] = vm })
	if b.Hypervisor != "" {
		if c.byHost[b.Hypervisor] == nil {
			c.byHost[b.Hypervisor] = map[mobility.VMID]struct{}{}
		}
		c.byHost[b.Hypervisor][vm] = struct{}{}
	}
}

// setMove replaces a move's record, or with nil deletes it.
func (c *Core) setMove(id moveID, m *Move) {
	list := c.epochs[id.vm]
	at, found := slices.BinarySearch(list, id.epoch)
	switch {
	case m != nil && !found:
		c.epochs[id.vm] = slices.Insert(list, at, id.epoch)
	case m == nil && found && len(list) == 1:
		delete(c.epochs, id.vm)
	case m == nil && found:
		c.epochs[id.vm] = slices.Delete(list, at, at+1)
	}
	if m == nil {
		delete(c.moves, id)
		return
	}
	c.moves[id] = m
}
