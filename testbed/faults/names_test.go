package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	v1 "github.com/dpmip/dpmip/api/dpmip/v1"
	"github.com/dpmip/dpmip/testbed/peers/bind"
	"github.com/dpmip/dpmip/testbed/scenario"
	"github.com/dpmip/dpmip/testbed/topology"
)

// TestNames: whatever the DNS does, moves go on and connections live; doctor
// says what is wrong, and once it is not any more the name is right.
func TestNames(t *testing.T) {
	var s scenario.Settings
	s.Drain = 5 * time.Second
	n := scenario.Named(&s)
	alone(t, s, nil, func(w *world) {
		f := w.talk()
		x := &names{w, n}
		x.right()
		for _, c := range []struct {
			name string
			run  func(*names)
		}{
			{"named is down, and the management node is killed", (*names).down},
			{"the key has another secret", (*names).wrongKey},
			{"the key was rolled at the server first", (*names).rolled},
			{"the secondary hangs", (*names).stuck},
		} {
			c.run(x)
			x.right()
			f.more(c.name)
		}
		f.whole()
	})
}

// names is a world with a name service.
type names struct {
	*world
	service *scenario.NameService
}

// renumber moves the VM on, with new addresses.
func (x *names) renumber() {
	x.t.Helper()
	m := x.plan()
	m.addresses = "renumber"
	m.prepare().finish()
}

// trouble waits until doctor says so.
func (x *names) trouble(text string) {
	x.t.Helper()
	x.eventually("doctor says "+text, func() string {
		c, err := x.check()
		if err != nil {
			return err.Error()
		}
		if c.State == "warning" && strings.Contains(c.Advice, text) {
			return ""
		}
		return c.State + ": " + c.Advice
	})
}

func (x *names) check() (*v1.Check, error) {
	d, err := x.mgmt().Doctor(x.ctx, connect.NewRequest(&v1.DoctorRequest{}))
	if err != nil {
		return nil, err
	}
	for _, c := range d.Msg.Checks {
		if c.Name == "names" {
			return c, nil
		}
	}
	return nil, fmt.Errorf("doctor has no check of names")
}

// right waits until the secondary serves the VM's address of now and doctor is
// content.
func (x *names) right() {
	x.t.Helper()
	x.eventually("the name is right", func() string {
		b, err := x.mgmt().GetBinding(x.ctx, connect.NewRequest(&v1.GetBindingRequest{Vm: x.vm(mover).ID}))
		if err != nil {
			return err.Error()
		}
		var want string
		for _, a := range b.Msg.Binding.Addresses {
			if a.Current && strings.Contains(a.Address, ":") {
				want = a.Address
			}
		}
		got, _, err := x.service.Addresses(x.ctx, 6)
		if err != nil || len(got) != 1 || got[0].String() != want {
			return fmt.Sprintf("the secondary serves %v (%v), want %s", got, err, want)
		}
		c, err := x.check()
		if err != nil || c.State != "ok" || !strings.HasPrefix(c.Found, "0 orders") {
			return fmt.Sprintf("doctor: %v (%v)", c, err)
		}
		return ""
	})
}

func (x *names) reload() {
	x.t.Helper()
	_, err := x.mgmt().Reload(x.ctx, connect.NewRequest(&v1.ReloadRequest{}))
	x.must(err)
}

func (x *names) down() {
	x.must(x.service.Primary.Kill())
	x.renumber()
	x.trouble("unreachable")
	x.kill(topology.Mgmt)
	x.start(topology.Mgmt)
	x.trouble("unreachable")
	x.must(x.service.Primary.Start())
}

func (x *names) wrongKey() {
	right := x.service.Key
	x.must(x.service.Sign(bind.NewKey(right.Name, right.Algorithm)))
	x.reload()
	x.renumber()
	x.trouble("NOTAUTH (BADSIG): the server has another secret")
	x.must(x.service.Sign(right))
	x.reload()
}

func (x *names) rolled() {
	next := bind.NewKey("mgmt.", "hmac-sha512")
	x.must(x.service.Roll(next))
	x.renumber()
	x.trouble("NOTAUTH (BAD")
	x.must(x.service.Sign(next))
	x.reload()
}

func (x *names) stuck() {
	x.must(x.service.Secondary.Freeze())
	x.renumber()
	x.trouble("not seen at [2001:db8:cafe::10]:53")
	x.must(x.service.Secondary.Thaw())
}
