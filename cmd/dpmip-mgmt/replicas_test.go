package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	clientv3 "go.etcd.io/etcd/client/v3"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/api/dpmip/v1/dpmipv1connect"
	"github.com/dpmip/dpmip/mgmt/store/etcd"
	"github.com/dpmip/dpmip/mobility"
	"github.com/dpmip/dpmip/mobility/registration"
)

const etcdAt = "http://127.0.0.1:2379" // in the test's own namespace

func startEtcd(t *testing.T) {
	t.Helper()
	cmd := exec.Command("etcd", "--data-dir", t.TempDir(), "--log-level", "error", "--listen-client-urls", etcdAt, "--advertise-client-urls", etcdAt)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("etcd (Debian package etcd-server): %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // killed
}

// depose takes the lease of whoever leads.
func depose(t *testing.T) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{etcdAt}, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.Get(t.Context(), "dpmip/leader/", clientv3.WithFirstCreate()...)
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("who leads: %v, %v", got, err)
	}
	if _, err := c.Revoke(t.Context(), clientv3.LeaseID(got.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
}

// TestReplicas: the replica that leads loses its lease between PREPARE and
// COMMIT; it ends, and the one that waited carries the move out.
func TestReplicas(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	startEtcd(t)
	dir := t.TempDir()
	socket := func(name string) string { return filepath.Join(dir, name+".sock") }
	replica := func(name string) string {
		state := filepath.Join(dir, name)
		return example(t, func(_, text string) string {
			return strings.NewReplacer(`"/var/lib/dpmip-mgmt"`, fmt.Sprintf("%q", state), `"/run/dpmip/mgmt.sock"`, fmt.Sprintf("%q", socket(name)),
				`, "192.0.2.254"`, "", `metrics = "[::1]:9437"`, "", "#[admin]", fmt.Sprintf("[store]\nkind = \"etcd\"\nendpoints = [%q]\nname = %q\nlease = \"2s\"", etcdAt, name)).Replace(text)
		})
	}
	one := launch(t, replica("one"))
	one.says("msg=ready")
	two := launch(t, replica("two"))
	two.says("another replica leads")

	a := newHost(t, "2001:db8:a::1", 1001, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
	b := newHost(t, "2001:db8:b::1", 1003, "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f")
	r := registration.Request{VM: mobility.NAI("vm1@dc1.example"), Handoff: mobility.HandoffNew, Lifetime: 100, Slots: []netip.Addr{netip.MustParseAddr("2001:db8:a:1::1")}}
	if got := a.submit(r); got.Status != mobility.StatusAccepted {
		t.Fatalf("register: %+v", got)
	}
	operator := func(name string) dpmipv1connect.ManagementServiceClient {
		web := overSocket(socket(name))
		t.Cleanup(web.CloseIdleConnections)
		return dpmipv1connect.NewManagementServiceClient(web, "http://local", connect.WithProtoJSON())
	}
	p, err := operator("one").PrepareMove(t.Context(), connect.NewRequest(&v1.PrepareMoveRequest{Vm: r.VM.String(), To: "hv-b", WaitNs: int64(30 * time.Second)}))
	if err != nil || p.Msg.Move.State != "ready" {
		t.Fatalf("prepare: %v, %v", p, err)
	}
	depose(t)
	if err := <-one.done; !errors.Is(err, etcd.ErrDeposed) {
		t.Errorf("the replica that led ended with %v, want ErrDeposed", err)
	}
	two.says("msg=ready")
	r.Handoff, r.Epoch = mobility.HandoffMove, 2
	if got := b.submit(r); got.Status != mobility.StatusAccepted || got.Epoch != 2 {
		t.Fatalf("commit at the other replica: %+v", got)
	}
	waitFor(t, operator("two"), r.VM, "done")
	if err := two.stop(); err != nil {
		t.Error(err)
	}
}
