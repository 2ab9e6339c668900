package capture

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/netns"
)

// Size of the ring of one capture. A block is handed over when it is full or
// after retire: a busy machine may leave the reader without a CPU for blocks
// times retire before a frame finds no room.
const (
	blockSize = 1 << 18
	blocks    = 64
	frameSize = 2048
	retire    = 25 * time.Millisecond
)

// ring is a TPACKET_V3 receive ring on one link (packet_mmap in the kernel's
// documentation).
type ring struct {
	fd   int
	wake int // eventfd that ends waiting
	mem  []byte
	next int // block to look at
}

func openRing(ns *netns.NS, link string, snap uint32) (r *ring, err error) {
	index, err := ns.Index(link)
	if err != nil {
		return nil, err
	}
	r = &ring{fd: -1, wake: -1}
	defer func() {
		if err != nil {
			r.close()
			r, err = nil, fmt.Errorf("capture: ring on %s:%s: %w", ns.Name(), link, err)
		}
	}()
	err = ns.Do(func() error {
		r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return r, err
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return r, err
	}
	if err = unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return r, err
	}
	if err = unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, snapFilter(snap)); err != nil {
		return r, err
	}
	err = unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size: blockSize, Block_nr: blocks, Frame_size: frameSize, Frame_nr: blockSize / frameSize * blocks,
		Retire_blk_tov: uint32(retire.Milliseconds()),
	})
	if err != nil {
		return r, err
	}
	if r.mem, err = unix.Mmap(r.fd, 0, blockSize*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return r, err
	}
	all := uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8)
	err = unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
	return r, err
}

// snapFilter keeps the first snap bytes of a frame, and Mobility Headers whole.
func snapFilter(snap uint32) *unix.SockFprog {
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.ETH_P_IPV6, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 20},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: ProtocolMobility, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 65535},
		{Code: unix.BPF_RET | unix.BPF_K, K: snap},
	}
	return &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
}

// each hands every frame that is there to f, with the kernel's wall-clock time
// stamp; data is valid during the call only. It waits up to timeout for more
// and says whether there were any.
func (r *ring) each(timeout time.Duration, f func(at time.Time, data []byte, length int) error) (bool, error) {
	any := false
	for {
		block := r.mem[r.next*blockSize:][:blockSize]
		head := (*unix.TpacketHdrV1)(unsafe.Pointer(&block[8])) // after version and offset_to_priv
		if atomic.LoadUint32(&head.Block_status)&unix.TP_STATUS_USER == 0 {
			if any || timeout == 0 {
				return any, nil
			}
			err := r.poll(timeout)
			timeout = 0
			if err != nil {
				return any, err
			}
			continue
		}
		any = true
		if err := eachInBlock(block, head, f); err != nil {
			return any, err
		}
		atomic.StoreUint32(&head.Block_status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % blocks
	}
}

func eachInBlock(block []byte, head *unix.TpacketHdrV1, f func(time.Time, []byte, int) error) error {
	at := head.Offset_to_first_pkt
	for range head.Num_pkts {
		h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[at]))
		data := block[at+uint32(h.Mac):][:h.Snaplen]
		if err := f(time.Unix(int64(h.Sec), int64(h.Nsec)), data, int(h.Len)); err != nil {
			return err
		}
		at += h.Next_offset
	}
	return nil
}

func (r *ring) poll(timeout time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(r.wake), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, int(timeout.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("capture: poll: %w", err)
	}
	return nil
}

// interrupt ends waiting, now and from now on.
func (r *ring) interrupt() error {
	_, err := unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}

// dropped is how many frames found no room since the last call.
func (r *ring) dropped() (uint32, error) {
	s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("capture: statistics: %w", err)
	}
	return s.Drops, nil
}

func (r *ring) close() {
	if r.mem != nil {
		_ = unix.Munmap(r.mem)
	}
	for _, fd := range []int{r.fd, r.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
