package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/flower"
	"github.com/dpmip/dpmip/hwabstraction/switchdev/tc"
	"github.com/dpmip/dpmip/testbed/netns"
)

// filterCount is how many flower filters one batch has: redirects of the
// switchdev backend.
const filterCount = 2000

// errElsewhere means that this machine's kernel lacks what a group measures.
var errElsewhere = errors.New("not on this machine")

// filterRig is a namespace with a port for filters.
type filterRig struct {
	ns      *netns.NS
	conn    *tc.Conn
	actions *netlink.Conn
	filters []flower.Filter
	batch   string // file for tc -batch
}

// filters compares putting flower filters with tc -batch, the way that an
// operator has without us. The kernel does the same work for both.
func filters(ctx context.Context, o *Options) (out []Figure, err error) {
	set, err := netns.Open("", "bench")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	r, err := newFilterRig(set)
	if err != nil {
		return nil, err
	}
	defer r.close()
	s, err := turns(ctx, o.rounds(25), r.timed(ctx, r.byBatch), r.timed(ctx, r.byConn), r.readBack(ctx), r.replace(ctx))
	if err != nil {
		return nil, err
	}
	byTC, byConn, read, replaced := s[0], s[1], s[2], s[3]
	gate, err := r.gate(ctx, 20*o.rounds(25))
	if err != nil {
		return nil, err
	}
	return []Figure{
		byConn.over(byTC).median("agent (switchdev backend) / tc -batch", "x").atLeast(5).note("%d IPv6 redirects a round, skip_hw, in turns", filterCount),
		byTC.median("tc -batch", "filters/s"),
		byConn.median("agent (switchdev backend)", "filters/s"),
		replaced.median("the same, in place of others", "filters/s"),
		read.median("read back, each held against what was put", "filters/s"),
		gate.median("one filter put in place of another, as for arming", "us"),
	}, nil
}

func newFilterRig(set *netns.Set) (*filterRig, error) {
	hv, err := space(set, "hv", false)
	if err != nil {
		return nil, err
	}
	beyond, err := space(set, "beyond", false)
	if err != nil {
		return nil, err
	}
	if err := join(hv, "fab0", beyond, "far0"); err != nil {
		return nil, err
	}
	port, err := hv.Index("fab0")
	if err != nil {
		return nil, err
	}
	fd, err := os.Open(hv.Path())
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer fd.Close()
	r := &filterRig{ns: hv, batch: filepath.Join(set.Dir(), "filters")}
	for i := range filterCount {
		r.filters = append(r.filters, redirecting(int32(port), i))
	}
	if r.conn, err = tc.Dial(int(fd.Fd())); err != nil {
		return nil, err
	}
	if r.actions, err = netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: int(fd.Fd())}); err != nil {
		return nil, errors.Join(err, r.conn.Close())
	}
	if err := errors.Join(r.conn.Attach(int32(port)), r.probe(), r.writeBatch()); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *filterRig) close() {
	_ = r.actions.Close()
	_ = r.conn.Close()
}

// redirecting is the i-th filter: it rewrites and redirects one VM's address.
func redirecting(port int32, i int) flower.Filter {
	return flower.Filter{
		Port: port, Chain: 1, Priority: 1, Handle: uint32(i + 1), SkipHW: true,
		Match: flower.Match{Destination: flower.Host(numbered(i)), NoFragment: true},
		Actions: []flower.Action{
			flower.Rewrite{SourceMAC: flower.MAC{2, 5: 1}, DestinationMAC: flower.MAC{2, 5: 2}, Destination: delivered(i), Hop: true},
			flower.Redirect{Port: port},
		},
	}
}

// delivered is the delivery address of the i-th VM.
func delivered(i int) netip.Addr {
	a := numbered(i).As16()
	a[1] = 0x88
	return netip.AddrFrom16(a)
}

// probe is errElsewhere where the kernel has no flower.
func (r *filterRig) probe() error {
	err := r.apply(context.Background(), tc.Put, r.filters[:1])
	if errors.Is(err, hwabstraction.ErrNotSupported) {
		return fmt.Errorf("%w: %w", errElsewhere, err)
	}
	return errors.Join(err, r.apply(context.Background(), tc.Delete, r.filters[:1]))
}

func (r *filterRig) writeBatch() error {
	f, err := os.Create(r.batch)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	w := bufio.NewWriter(f)
	for i := range filterCount {
		fmt.Fprintf(w, "filter add dev fab0 ingress protocol ipv6 chain 1 prio 1 handle %#x flower skip_hw dst_ip %s ip_flags nofrag "+
			"action pedit ex munge eth src set 02:00:00:00:00:01 munge eth dst set 02:00:00:00:00:02 munge ip6 dst set %s munge ip6 hoplimit add 0xff pipe "+
			"action mirred egress redirect dev fab0\n", i+1, numbered(i), delivered(i))
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

func (r *filterRig) apply(ctx context.Context, op tc.Op, filters []flower.Filter) error {
	requests := make([]tc.Request, len(filters))
	for i, f := range filters {
		requests[i] = tc.Request{Op: op, Filter: f}
	}
	return errors.Join(r.conn.Apply(ctx, requests)...)
}

// timed makes a way of adding the filters: their rate. They must be there
// afterwards, all as they should be, and are deleted again, untimed.
func (r *filterRig) timed(ctx context.Context, add func(context.Context) error) way {
	return func() (float64, error) {
		start := time.Now()
		if err := add(ctx); err != nil {
			return 0, err
		}
		took := time.Since(start)
		if err := r.check(ctx); err != nil {
			return 0, err
		}
		return perSecond(filterCount, took), r.wipe(ctx)
	}
}

func (r *filterRig) byBatch(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "tc", "-batch", r.batch)
	cmd.Stderr = os.Stderr
	if err := r.ns.Run(cmd); err != nil {
		return fmt.Errorf("bench: tc -batch: %w", err)
	}
	return nil
}

func (r *filterRig) byConn(ctx context.Context) error { return r.apply(ctx, tc.Put, r.filters) }

// readBack times reading the filters and holding each against what was put.
func (r *filterRig) readBack(ctx context.Context) way {
	return func() (float64, error) {
		if err := r.byConn(ctx); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := r.check(ctx); err != nil {
			return 0, err
		}
		took := time.Since(start)
		return perSecond(filterCount, took), r.wipe(ctx)
	}
}

// replace times putting the filters in place of others.
func (r *filterRig) replace(ctx context.Context) way {
	others := slices.Clone(r.filters)
	for i := range others {
		others[i].Actions = []flower.Action{flower.Goto{Chain: 2}}
	}
	return func() (float64, error) {
		if err := r.apply(ctx, tc.Put, others); err != nil {
			return 0, err
		}
		return r.timed(ctx, func(ctx context.Context) error { return r.apply(ctx, tc.Replace, r.filters) })()
	}
}

// gate times single filters, each in place of the one before.
func (r *filterRig) gate(ctx context.Context, n int) (Samples, error) {
	to := r.filters[:1:1]
	var out Samples
	for i := range n {
		to[0].Actions = []flower.Action{flower.Goto{Chain: uint32(2 + i%2)}}
		start := time.Now()
		if err := r.apply(ctx, tc.Replace, to); err != nil {
			return nil, err
		}
		out = append(out, float64(time.Since(start).Nanoseconds())/1000)
	}
	return out, r.apply(ctx, tc.Delete, to)
}

// wipe deletes the filters and waits until the kernel has torn them down: it does
// so later, by a worker that would disturb the next round.
func (r *filterRig) wipe(ctx context.Context) error {
	if err := r.apply(ctx, tc.Delete, r.filters); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		n, err := r.leftActions()
		if n == 0 || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("bench: %d actions of deleted filters are left: %w", n, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// leftActions counts the rewriting actions of the namespace: each filter has one
// until it is torn down.
func (r *filterRig) leftActions() (int, error) {
	const table, count, kind = 1, 3, 1 // TCA_ROOT_TAB, TCA_ROOT_COUNT, TCA_ACT_KIND
	ae := netlink.NewAttributeEncoder()
	ae.Nested(table, func(list *netlink.AttributeEncoder) error {
		list.Nested(1, func(action *netlink.AttributeEncoder) error {
			action.String(kind, "pedit")
			return nil
		})
		return nil
	})
	attrs, err := ae.Encode()
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	answers, err := r.actions.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETACTION, Flags: netlink.Request | netlink.Dump},
		Data:   append(make([]byte, 4), attrs...), // struct tcamsg
	})
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	sum := 0
	for _, m := range answers {
		ad, err := netlink.NewAttributeDecoder(m.Data[min(4, len(m.Data)):])
		if err != nil {
			return 0, fmt.Errorf("bench: %w", err)
		}
		for ad.Next() {
			if ad.Type() == count {
				sum += int(ad.Uint32())
			}
		}
	}
	return sum, nil
}

// check holds what the kernel has against what it should have.
func (r *filterRig) check(ctx context.Context) error {
	found, err := r.conn.List(ctx, r.filters[0].Port)
	if err != nil {
		return err
	}
	right := 0
	for _, s := range found {
		if i := int(s.Handle) - 1; i < len(r.filters) && s.Holds(r.filters[i]) {
			right++
		}
	}
	if right != filterCount || len(found) != filterCount {
		return fmt.Errorf("bench: %d of %d filters are as they should be, of %d there", right, filterCount, len(found))
	}
	return nil
}
