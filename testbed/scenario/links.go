package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/testbed/capture"
	"github.com/dpmip/dpmip/testbed/topology"
)

// links are captures of every link of the fabric.
type links struct {
	r     *run
	caps  []*capture.Capture
	cards map[string][]byte // MAC of each hypervisor's fabric port
	found map[*move]*sightings
	extra capture.Findings // added headers, all links
	loops loops
}

// startLinks records every link, from one of its ends: a frame is seen once.
func (r *run) startLinks() error {
	dir := r.o.Pcap
	if dir == "" {
		dir = filepath.Join(r.dc.Lab.Set.Dir(), "pcap")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("scenario: %w", err)
	}
	r.links = &links{r: r, cards: map[string][]byte{}, found: map[*move]*sightings{}, loops: loops{seen: map[crossing]int{}}}
	for _, h := range r.dc.Lab.Plan.Hypervisors {
		l, err := r.dc.Lab.Node(h.Name).NS.Link(topology.FabricPort)
		if err != nil {
			return err
		}
		r.links.cards[h.Name] = l.Attrs().HardwareAddr
	}
	for _, l := range r.dc.Lab.Plan.Links {
		c, err := capture.Start(r.dc.Lab.Node(l.A.Node).NS, l.A.Name, capture.Options{Dir: dir})
		if err != nil {
			return err
		}
		r.links.caps = append(r.links.caps, c)
	}
	return nil
}

// stopLinks ends recording and looks at every frame once.
func (r *run) stopLinks() error {
	if r.links == nil {
		return nil
	}
	var errs []error
	for _, c := range r.links.caps {
		_, err := c.Stop()
		if errors.Is(err, capture.ErrDropped) {
			r.void, err = err.Error(), nil
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i, c := range r.links.caps {
		if err := c.Each(r.links.seen(i, r.dc.Lab.Plan.Links[i])); err != nil {
			return err
		}
	}
	if x := r.links.extra; x.Broken > 0 {
		r.problem("%d of %d frames have an added header: %v", x.Broken, x.Checked, x.First)
	}
	r.judgeLoops(&r.links.loops)
	return nil
}

// seen looks at one frame of a link.
func (l *links) seen(i int, link topology.Link) func(capture.Frame) error {
	hv, access := link.B.Node, link.B.Name == topology.FabricPort && l.cards[link.B.Node] != nil
	return func(f capture.Frame) error {
		l.extra.Checked++
		if l.r.o.two != nil {
			l.loops.see(i, f)
		}
		if f.Extra != "" && !ours(f) {
			note(&l.extra, f)
		}
		if !access || !f.Dst.IsValid() || capture.Signalling(f) {
			return nil
		}
		for _, m := range l.r.moves {
			if at := m.times[stageReleased]; at != 0 && f.At >= at && (m.ended == 0 || f.At < m.ended) {
				up := len(f.Data) >= 12 && bytes.Equal(f.Data[6:12], l.cards[hv])
				l.of(m).see(l.r, m, hv, up, f)
			}
		}
		return nil
	}
}

// ours reports whether a datagram is one of the lab's own: its other port was
// chosen by the kernel and may happen to be that of a tunnel.
func ours(f capture.Frame) bool {
	lab := func(p uint16) bool { return p >= portUDP && p < portNew+portsNew }
	return f.Protocol == unix.IPPROTO_UDP && (lab(f.SrcPort) || lab(f.DstPort))
}

func (l *links) of(m *move) *sightings {
	s := l.found[m]
	if s == nil {
		s = &sightings{}
		l.found[m] = s
	}
	return s
}

func note(n *capture.Findings, f capture.Frame) {
	n.Broken++
	if len(n.First) < 3 {
		n.First = append(n.First, f.String())
	}
}

// problems says what of a move's packets went by ways where they must not.
func (l *links) problems(m *move) []string {
	s := l.of(m)
	var out []string
	for _, c := range []struct {
		n    *capture.Findings
		what string
	}{
		{&s.leaving, "frames left " + m.from + " that were not rewritten to a delivery address of " + m.to},
		{&s.arriving, "frames reached " + m.to + " by an address that nothing should lead there"},
		{&s.stray, "frames still came to " + m.from + " after the routers had confirmed"},
	} {
		if c.n.Broken > 0 {
			out = append(out, fmt.Sprintf("%d of %d %s: %v", c.n.Broken, c.n.Checked, c.what, c.n.First))
		}
	}
	if s.leaving.Checked == 0 {
		out = append(out, "no redirected frame was seen behind "+m.from)
	}
	if s.arriving.Checked == 0 && !l.r.local(m) {
		out = append(out, "no frame of the VM was seen before "+m.to)
	}
	return out
}

// local reports whether all the peers of a run are beside the destination.
func (r *run) local(m *move) bool {
	return !slices.ContainsFunc(r.order, func(name string) bool { v, ok := r.dc.Lab.Plan.VM(r.sessions[name].peer); return !ok || v.Home != m.to })
}
