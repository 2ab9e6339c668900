package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/detect"
	"github.com/dpmip/dpmip/testbed/netns"
)

// fastPath compares a translated redirect by flower filters, in the kernel, with
// the same by the software backend: packets per second of one core.
func fastPath(ctx context.Context, o *Options) ([]Figure, error) {
	var out []Figure
	for _, f := range families {
		figures, err := fastFamily(ctx, o, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		out = append(out, figures...)
	}
	return out, nil
}

func fastFamily(ctx context.Context, o *Options, f family) (out []Figure, err error) {
	set, err := netns.Open("", "bench")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	var hops []*hop
	for _, backend := range []string{detect.Software, detect.Switchdev} {
		h, err := newHop(set, backend, f)
		if err != nil {
			return nil, err
		}
		defer h.close()
		dir, err := set.MountBPF(backend + "-bpf")
		if err != nil {
			return nil, err
		}
		if err := h.open(ctx, backend, dir, f); err != nil {
			return nil, fmt.Errorf("%s: %w", backend, err)
		}
		hops = append(hops, h)
	}
	s, err := turns(ctx, o.rounds(100), hops[0].blast, hops[1].blast)
	if err != nil {
		return nil, err
	}
	if err := hops[1].wasFast(ctx, uint64(len(s[1]))*blastFrames); err != nil {
		return nil, err
	}
	return []Figure{
		s[1].over(s[0]).median("redirect by filters / by the software backend, "+f.name, "x").note("translated; skip_hw, so in the kernel; %d frames a round, in turns", blastFrames),
		s[0].median("redirect by the software backend, "+f.name, "packets/s"),
		s[1].median("redirect by filters, "+f.name, "packets/s"),
	}, nil
}

// open opens a backend as an agent does, and arms a redirect. A fast path takes
// over when the slow one has seen the first packet.
func (h *hop) open(ctx context.Context, backend, dir string, f family) error {
	hw, err := detect.Open(ctx, detect.Config{
		Backend: backend, SkipHW: backend == detect.Switchdev, NetNS: int(h.fd.Fd()), BPFDir: dir, Fabric: []string{"fab0", "fab1"},
	})
	if errors.Is(err, hwabstraction.ErrNotSupported) {
		return fmt.Errorf("%w: %w", errElsewhere, err)
	}
	if err != nil {
		return err
	}
	h.dev, h.hardware = hw.Device, hw
	if err := h.arm(f, hwabstraction.NewRedirect); err != nil || backend == detect.Software {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if _, err := h.blast(); err != nil {
			return err
		}
		switch fast, _, err := h.paths(ctx); {
		case err != nil:
			return err
		case fast > 0:
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("bench: the redirect does not become fast: %w", err)
		}
	}
}

// wasFast is an error unless filters took so many packets.
func (h *hop) wasFast(ctx context.Context, want uint64) error {
	fast, slow, err := h.paths(ctx)
	if err == nil && fast < want {
		err = fmt.Errorf("bench: filters took %d packets, %d went past them, want %d by filters", fast, slow, want)
	}
	return err
}

func (h *hop) paths(ctx context.Context) (fast, slow uint64, err error) {
	t, ok := h.dev.(hwabstraction.Tiered)
	if !ok {
		return 0, 0, errors.New("bench: the device has no fast path")
	}
	now, err := t.Tiers(ctx)
	for _, v := range now.VMs {
		fast, slow = fast+v.Fast, slow+v.Slow
	}
	return fast, slow, err
}
