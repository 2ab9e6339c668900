// Package inventory says what the operator knows of the data centre: which
// hypervisors and routers there are, which addresses belong to them, how the
// routers hang together, who may move where and with which keys peers speak.
//
// An Inventory never changes; a reload makes another one.
package inventory
