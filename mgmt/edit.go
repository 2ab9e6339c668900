package mgmt

import "github.com/dpmip/dpmip/mobility"

// edit is the record of one VM as a Step leaves it.
type edit struct {
	vm  mobility.VMID
	b   *Binding // nil = deleted
	old *Binding // in the cache before, nil = none
}

// edits are the records that a Step changes, in the order in which it first did.
// Nearly every Step changes one: the index is made for those that change many.
type edits struct {
	list  []edit
	index map[mobility.VMID]int // of list; nil while it is short
}

// short is how long a list is looked through without an index.
const short = 8

// find gives the VM's edit, or nil. It is valid until the next add.
func (e *edits) find(vm mobility.VMID) *edit {
	if e.index != nil {
		if i, ok := e.index[vm]; ok {
			return &e.list[i]
		}
		return nil
	}
	for i := range e.list {
		if e.list[i].vm == vm {
			return &e.list[i]
		}
	}
	return nil
}

func (e *edits) add(vm mobility.VMID, old *Binding) *edit {
	e.list = append(e.list, edit{vm: vm, old: old})
	if e.index == nil && len(e.list) > short {
		e.index = make(map[mobility.VMID]int, 2*short)
		for i := range e.list {
			e.index[e.list[i].vm] = i
		}
	}
	if e.index != nil {
		e.index[vm] = len(e.list) - 1
	}
	return &e.list[len(e.list)-1]
}
