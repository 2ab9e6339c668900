package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/testbed/netns"
)

// redirectCount is how many redirects one batch has.
const redirectCount = 10_000

// redirects puts 10 000 redirects into the software backend in one batch: all
// of one VM, and each of a VM of its own. Then it switches groups of the
// largest size.
func redirects(ctx context.Context, o *Options) (out []Figure, err error) {
	set, err := netns.Open("", "bench")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	hv, err := space(set, "hv", true)
	if err != nil {
		return nil, err
	}
	beyond, err := space(set, "beyond", false)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(join(hv, "fab0", beyond, "far0"), hv.AddAddr("fab0", netip.MustParsePrefix("fd02::2/64"))); err != nil {
		return nil, err
	}
	fd, err := os.Open(hv.Path())
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer fd.Close()
	dir, err := set.MountBPF("bpf")
	if err != nil {
		return nil, err
	}
	dev, err := openDevice(fd, dir, 4*redirectCount)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	s, err := turns(ctx, o.rounds(20), putAndRemove(dev, redirectCount), putAndRemove(dev, 1))
	if err != nil {
		return nil, err
	}
	arm, err := switching(dev, o.rounds(20))
	if err != nil {
		return nil, err
	}
	return []Figure{
		s[0].median("one batch, each for a VM of its own", "redirects/s").atLeast(200_000).note("%d redirects, software backend", redirectCount),
		s[1].median("one batch, all of one group", "redirects/s").atLeast(200_000).note("%d redirects, software backend", redirectCount),
		arm.median("arm and disarm a group of 16 addresses, the device's part", "ns"),
	}, nil
}

// owned is the stamp of the i-th VM.
func owned(i int) hwabstraction.Stamp {
	s := hwabstraction.Stamp{Epoch: 1}
	s.Owner[0] = 3
	binary.BigEndian.PutUint32(s.Owner[4:], uint32(i))
	return s
}

// putAndRemove times a batch of redirects for so many VMs, and takes them away
// again.
func putAndRemove(dev hwabstraction.Device, vms int) way {
	puts, removes := make([]hwabstraction.Change, redirectCount), make([]hwabstraction.Change, redirectCount)
	for i := range puts {
		r := hwabstraction.Redirect{Stamp: owned(i % vms), Address: numbered(i), To: neutral(i), Locator: nextHop6}
		puts[i], removes[i] = hwabstraction.Put(r), hwabstraction.Remove(r.ID(), r.Stamp)
	}
	return func() (float64, error) {
		start := time.Now()
		err := applyAll(context.Background(), dev, puts)
		took := time.Since(start)
		if err != nil {
			return 0, err
		}
		return perSecond(redirectCount, took), applyAll(context.Background(), dev, removes)
	}
}

// neutral is an address with the one's-complement sum of numbered(i).
func neutral(i int) netip.Addr {
	b := numbered(i).As16()
	b[8], b[9], b[14], b[15] = b[14], b[15], b[8], b[9]
	return netip.AddrFrom16(b)
}

// switching times Arm and Disarm of a group of 16 addresses.
func switching(dev hwabstraction.Device, rounds int) (Samples, error) {
	puts := make([]hwabstraction.Change, 16)
	for i := range puts {
		puts[i] = hwabstraction.Put(hwabstraction.Redirect{Stamp: owned(0), Address: numbered(i), To: neutral(i), Locator: nextHop6})
	}
	if err := applyAll(context.Background(), dev, puts); err != nil {
		return nil, err
	}
	var out Samples
	for range rounds {
		c, err := perCall(func() error { return errors.Join(dev.Arm(owned(0)), dev.Disarm(owned(0))) })
		if err != nil {
			return nil, err
		}
		out = append(out, c.ns)
	}
	return out, nil
}
