package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/capture"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
	"github.com/dpmip/dpmip/testbed/traffic"
)

// armingPPS is the rate of the stream that arming is watched by: a datagram
// every 100 us, so that the first redirected one is up to 100 us late.
const armingPPS = 10_000

// armRig moves a VM round and watches the source's fabric link.
type armRig struct {
	dc      *scenario.DataCentre
	vm      topology.VM
	at      int // of ring
	dir     string
	wire    Samples // us from the command to the first redirected packet
	answer  Samples // us from the command to its answer
	signals Samples // ms from prepare to ready
}

var ring = []string{topology.HVA, topology.HVB, topology.HVC}

// arming measures from the moment the command leaves its sender to the first
// redirected packet on the source's link, by the kernel's time stamp.
func arming(ctx context.Context, o *Options) (out []Figure, err error) {
	dc, err := scenario.Start(ctx, scenario.Settings{Bin: o.Bin, Seed: o.Seed})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dc.Close()) }()
	for _, v := range dc.Lab.Plan.VMs {
		if err := dc.Attach(ctx, v.Name, []int{6, 4}); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(o.Dir, "dpmip-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(dir)
	stream, err := traffic.OpenStream(traffic.StreamConfig{ID: 1, PPS: armingPPS, A: dc.Lab.Endpoint(topology.CN, 6, 7000), B: dc.Lab.Endpoint("vm1", 6, 7000)})
	if err != nil {
		return nil, err
	}
	stream.Start()
	defer stream.Stop()
	if err := stream.WaitFor(ctx, 100); err != nil {
		return nil, err
	}
	n := o.rounds(150)
	idle := &armRig{dc: dc, vm: dc.Lab.Plan.VMs[0], dir: dir}
	if err := idle.rounds(ctx, n); err != nil {
		return nil, err
	}
	loaded := &armRig{dc: dc, vm: idle.vm, dir: dir, at: idle.at}
	stop, err := load(ctx, dc)
	if err != nil {
		return nil, err
	}
	err = loaded.rounds(ctx, n)
	stop()
	if err != nil {
		return nil, err
	}
	return []Figure{
		idle.wire.figure("command to the first redirected packet on the wire, p99, idle", "us", 0.99).atMost(1000).note("median %s us; a packet every %d us", amount(idle.wire.Median()), 1_000_000/armingPPS),
		loaded.wire.figure("the same, p99, under load", "us", 0.99).atMost(3000).note("median %s us; 16 TCP connections, 5000 datagrams/s each way, and clients that list rules of every agent without pause", amount(loaded.wire.Median())),
		idle.answer.figure("command to its answer, p99, idle", "us", 0.99).note("median %s us", amount(idle.answer.Median())),
		idle.signals.median("move prepare to ready, p50, idle", "ms").atMost(30),
	}, nil
}

func (r *armRig) rounds(ctx context.Context, n int) error {
	for range n {
		if err := r.move(ctx); err != nil {
			return err
		}
	}
	return nil
}

// move carries the VM one hypervisor on.
func (r *armRig) move(ctx context.Context) error {
	from, to := ring[r.at], ring[(r.at+1)%len(ring)]
	begin := clock.Now()
	p, err := r.dc.Mgmt.PrepareMove(ctx, connect.NewRequest(&v1.PrepareMoveRequest{
		Vm: r.vm.ID, To: to, Mode: "hot", Addresses: "keep", Redirect: "translated", NewConnections: "redirect", WaitNs: int64(10 * time.Second),
	}))
	if err == nil && p.Msg.Move.State != "ready" {
		err = errors.New(p.Msg.Move.Error)
	}
	if err != nil {
		return fmt.Errorf("bench: prepare %s -> %s: %w", from, to, err)
	}
	r.signals = append(r.signals, millis(clock.Now()-begin))
	if err := r.release(ctx, from, to); err != nil {
		return err
	}
	clock.SleepUntil(clock.Now() + 2*time.Millisecond)
	if err := r.dc.Lab.Switch.Connect(r.vm.Name, to); err != nil {
		return err
	}
	if _, err := r.dc.Agent(to).ActivateVM(ctx, connect.NewRequest(&v1.ActivateVMRequest{Vm: r.vm.ID, WaitNs: int64(10 * time.Second)})); err != nil {
		return fmt.Errorf("bench: activate at %s: %w", to, err)
	}
	r.at = (r.at + 1) % len(ring)
	return r.confirmed(ctx)
}

// release arms the source and finds the first redirected packet.
func (r *armRig) release(ctx context.Context, from, to string) error {
	c, err := capture.Start(r.dc.Lab.Node(from).NS, topology.FabricPort, capture.Options{Dir: r.dir, Snap: 64})
	if err != nil {
		return err
	}
	begin := clock.Now()
	_, err = r.dc.Agent(from).ReleaseVM(ctx, connect.NewRequest(&v1.ReleaseVMRequest{Vm: r.vm.ID}))
	answered := clock.Now()
	if err != nil {
		_, stop := c.Stop()
		return errors.Join(fmt.Errorf("bench: release at %s: %w", from, err), stop)
	}
	clock.SleepUntil(answered + 2*time.Millisecond)
	if err := r.dc.Lab.Switch.Disconnect(r.vm.Name); err != nil {
		return err
	}
	if _, err := c.Stop(); err != nil {
		return err
	}
	h, _ := r.dc.Lab.Plan.Hypervisor(to)
	first := time.Duration(0)
	err = c.Each(func(f capture.Frame) error {
		if first == 0 && f.At >= begin && f.Src == r.dc.Lab.Plan.CN.V6 && h.Pool.V6.Contains(f.Dst) {
			first = f.At
		}
		return nil
	})
	if err == nil && first == 0 {
		err = fmt.Errorf("bench: no packet was redirected at %s", from)
	}
	r.wire = append(r.wire, float64(first-begin)/1e3)
	r.answer = append(r.answer, float64(answered-begin)/1e3)
	return err
}

// confirmed waits until every anchor has confirmed the move.
func (r *armRig) confirmed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		b, err := r.dc.Mgmt.GetBinding(ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: r.vm.ID}))
		if err != nil {
			return fmt.Errorf("bench: binding of %s: %w", r.vm.ID, err)
		}
		open := false
		for _, a := range b.Msg.Binding.Anchors {
			open = open || !a.Confirmed
		}
		if !open {
			return nil
		}
		clock.SleepUntil(clock.Now() + 2*time.Millisecond)
	}
}

// load keeps the data centre busy until stop: traffic through the moving VM,
// and a client at every agent that reads all rules and VMs without pause.
func load(ctx context.Context, dc *scenario.DataCentre) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	stream, err := traffic.OpenStream(traffic.StreamConfig{ID: 2, PPS: movePPS, A: dc.Lab.Endpoint(topology.CN, 6, 7001), B: dc.Lab.Endpoint("vm1", 6, 7001)})
	if err != nil {
		cancel()
		return nil, err
	}
	group, err := traffic.OpenTCP(ctx, traffic.TCPConfig{Connections: moveTCP, Client: dc.Lab.Endpoint(topology.CN, 6, 0), Server: dc.Lab.Endpoint("vm1", 6, 7100)})
	if err != nil {
		cancel()
		stream.Start()
		stream.Stop()
		return nil, err
	}
	stream.Start()
	for _, hv := range ring {
		tasks.Go(func() {
			for ctx.Err() == nil {
				_, _ = dc.Agent(hv).ListRules(ctx, connect.NewRequest(&v1.ListRulesRequest{}))
				_, _ = dc.Agent(hv).ListVMs(ctx, connect.NewRequest(&v1.ListVMsRequest{}))
			}
		})
	}
	return func() {
		cancel()
		tasks.Wait()
		stream.Stop()
		group.Stop(3 * time.Second)
	}, nil
}
