package tc

import (
	"encoding/binary"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
)

// fakeKernel is a kernel's filter tables behind a socket. Its fields after the
// tables make it fail.
type fakeKernel struct {
	qdiscs map[int32]string // by port; "" = the port is there, and has none
	blocks map[int32]bool   // ports whose qdisc has a shared block
	rows   []row            // in the order they were put

	fail      map[uint32]syscall.Errno // the answer to a put of a handle
	reason    string                   // with every refusal
	mostSent  int                      // more messages in one send: ENOBUFS; 0 = any number
	stopAfter int                      // messages of a send that are carried out; 0 = all
	stops     int                      // how many sends stop so
	loses     int                      // how many sends have answers lost: all but the first few of many
	noTarget  bool                     // filters that redirect find no port there
	vanishAt  uint32                   // the handle at whose put the port vanishes
	interrupt int                      // how many dumps are interrupted
	spoil     func(dump []byte) []byte // every datagram of a dump
	sendError error

	queue  [][]byte
	errs   []error // before the queue
	sends  []int   // messages of each
	closed bool
}

type row struct {
	at   place
	data []byte // as dumped
}

func newFake(ports ...int32) *fakeKernel {
	k := &fakeKernel{qdiscs: map[int32]string{}, fail: map[uint32]syscall.Errno{}}
	for _, p := range ports {
		k.qdiscs[p] = "clsact"
	}
	return k
}

func (k *fakeKernel) Close() error {
	k.closed = true
	return nil
}

func (k *fakeKernel) Receive(b []byte) (int, error) {
	if len(k.errs) > 0 {
		err := k.errs[0]
		k.errs = k.errs[1:]
		return 0, err
	}
	if len(k.queue) == 0 {
		return 0, unix.EAGAIN
	}
	n := copy(b, k.queue[0])
	k.queue = k.queue[1:]
	return n, nil
}

func (k *fakeKernel) Send(b []byte) error {
	if k.sendError != nil {
		return k.sendError
	}
	var all []message
	if err := messages(b, func(m message) { all = append(all, m) }); err != nil {
		return err
	}
	if k.mostSent > 0 && len(all) > k.mostSent {
		return unix.ENOBUFS
	}
	k.sends = append(k.sends, len(all))
	if k.stopAfter > 0 && k.stops > 0 && len(all) > k.stopAfter {
		k.stops--
		all = all[:k.stopAfter]
	}
	before := len(k.queue)
	for _, m := range all {
		k.handle(m)
	}
	if k.loses > 0 && all[0].typ != unix.RTM_GETTFILTER && all[0].typ != unix.RTM_GETLINK {
		k.loses--
		k.queue = k.queue[:min(before+len(all)/3, len(k.queue))]
		k.errs = append(k.errs, unix.ENOBUFS)
	}
	return nil
}

func (k *fakeKernel) handle(m message) {
	switch m.typ {
	case unix.RTM_GETTFILTER:
		k.dump(m)
		return
	case unix.RTM_GETQDISC:
		k.dumpQdiscs(m)
		return
	}
	errno := k.carryOut(m)
	if errno != 0 || m.flags&unix.NLM_F_ACK != 0 {
		k.answer(m, errno)
	}
}

func (k *fakeKernel) carryOut(m message) syscall.Errno {
	port := int32(binary.NativeEndian.Uint32(m.data[4:]))
	kind, there := k.qdiscs[port]
	if !there {
		return unix.ENODEV
	}
	switch m.typ {
	case unix.RTM_GETLINK:
		return 0
	case unix.RTM_NEWQDISC:
		if kind != "" {
			return unix.EEXIST
		}
		k.qdiscs[port] = "clsact"
		return 0
	}
	if kind == "" {
		return unix.EINVAL
	}
	s, _, err := flower.ParseStatus(m.data)
	if err != nil {
		return unix.EINVAL
	}
	at := placeOf(s.Filter)
	i := slices.IndexFunc(k.rows, func(r row) bool { return r.at == at })
	if m.typ == unix.RTM_DELTFILTER {
		if i < 0 {
			return unix.ENOENT
		}
		k.rows = slices.Delete(k.rows, i, i+1)
		return 0
	}
	if k.noTarget && target(s.Filter) != 0 {
		return unix.ENODEV
	}
	return k.put(m, at, i)
}

func (k *fakeKernel) put(m message, at place, i int) syscall.Errno {
	switch errno := k.fail[at.handle]; {
	case at.handle == k.vanishAt && k.vanishAt != 0:
		delete(k.qdiscs, at.port)
		k.rows = slices.DeleteFunc(k.rows, func(r row) bool { return r.at.port == at.port })
		return unix.ENODEV
	case errno != 0:
		return errno
	case i >= 0 && m.flags&unix.NLM_F_EXCL != 0:
		return unix.EEXIST
	case i >= 0:
		k.rows[i].data = slices.Clone(m.data)
	default:
		k.rows = append(k.rows, row{at, slices.Clone(m.data)})
	}
	return 0
}

// answer queues an acknowledgement or a refusal, as with NETLINK_CAP_ACK.
func (k *fakeKernel) answer(m message, errno syscall.Errno) {
	data := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	data = append(data, make([]byte, unix.SizeofNlMsghdr)...)
	flags := uint16(unix.NLM_F_CAPPED)
	if errno != 0 && k.reason != "" {
		flags |= unix.NLM_F_ACK_TLVS
		data = binary.NativeEndian.AppendUint16(data, uint16(4+len(k.reason)+1))
		data = binary.NativeEndian.AppendUint16(data, unix.NLMSGERR_ATTR_MSG)
		data = append(append(data, k.reason...), 0)
	}
	k.queue = append(k.queue, encoded(unix.NLMSG_ERROR, flags, m.seq, data))
}

func encoded(typ, flags uint16, seq uint32, data []byte) []byte {
	b := head(typ, 0)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b = finish(append(b, data...))
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// dump queues the filters of a port, two in each datagram.
func (k *fakeKernel) dump(m message) {
	port := int32(binary.NativeEndian.Uint32(m.data[4:]))
	flags := uint16(unix.NLM_F_MULTI)
	if k.interrupt > 0 {
		k.interrupt--
		flags |= unix.NLM_F_DUMP_INTR
	}
	var grams [][]byte
	for _, r := range k.rows {
		if r.at.port != port {
			continue
		}
		one := encoded(unix.RTM_NEWTFILTER, flags, m.seq, r.data)
		if n := len(grams); n > 0 && len(grams[n-1]) < 2*len(one) {
			grams[n-1] = append(grams[n-1], one...)
		} else {
			grams = append(grams, one)
		}
	}
	for _, g := range grams {
		if k.spoil != nil {
			g = k.spoil(g)
		}
		k.queue = append(k.queue, g)
	}
	k.queue = append(k.queue, encoded(unix.NLMSG_DONE, flags, m.seq, make([]byte, 4)))
}

func (k *fakeKernel) dumpQdiscs(m message) {
	var b []byte
	for port, kind := range k.qdiscs {
		if kind == "" {
			continue
		}
		data := tcmsg(nil, port, clsactHandle, clsactParent)
		data = binary.NativeEndian.AppendUint16(data, uint16(4+len(kind)+1))
		data = binary.NativeEndian.AppendUint16(data, tcaKind)
		data = append(append(data, kind...), 0)
		for len(data)%4 != 0 {
			data = append(data, 0)
		}
		if k.blocks[port] {
			data = append(data, 8, 0, tcaIngressBlock, 0, 1, 0, 0, 0)
		}
		b = append(b, encoded(unix.RTM_NEWQDISC, unix.NLM_F_MULTI, m.seq, data)...)
	}
	k.queue = append(k.queue, append(b, encoded(unix.NLMSG_DONE, unix.NLM_F_MULTI, m.seq, make([]byte, 4))...))
}

// handles are those of a port's filters.
func (k *fakeKernel) handles() (list []uint32) {
	for _, r := range k.rows {
		list = append(list, r.at.handle)
	}
	return list
}
