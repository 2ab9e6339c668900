package haltest

import (
	"cmp"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dpmip/dpmip/hwabstraction"
)

// check is one sentence of the contract as a test.
type check struct {
	name  string
	needs []hwabstraction.Feature // skipped where the device says no
	run   func(*stand)
}

// Run checks every sentence of the contract of hwabstraction against the
// device that open gives, each in a rig of its own and in both families. Checks
// whose features the device denies are skipped with the device's own reason; a
// device that cannot tell is held to them.
func Run(t *testing.T, open func(t *testing.T) Rig) {
	t.Helper()
	groups := []struct {
		name   string
		checks []check
	}{
		{"rules", ruleChecks}, {"groups", groupChecks}, {"hold", holdChecks},
		{"forward", forwardChecks}, {"guard", guardChecks}, {"policy", policyChecks},
		{"bounds", boundChecks},
	}
	for _, f := range []family{family6, family4} {
		for _, g := range groups {
			for _, c := range g.checks {
				t.Run(f.name+"/"+g.name+"/"+c.name, func(t *testing.T) {
					t.Parallel()
					s := newStand(t, f, open(t))
					s.require(c.needs)
					c.run(s)
				})
			}
		}
	}
}

// stand is one rig under test, in one family.
type stand struct {
	*testing.T
	family
	world  World
	dev    hwabstraction.Device
	reopen func(testing.TB) hwabstraction.Device
	fabric Port
	vm     []Port

	gateways     map[string]MAC // of VM ports, as learned
	gatewayAsker netip.Addr     // the VM address that asks for a gateway by ARP
}

func newStand(t *testing.T, f family, r Rig) *stand {
	return &stand{
		T: t, family: f, world: r.World, dev: r.Device, reopen: r.Reopen,
		fabric: r.World.Fabric(), vm: r.World.VMs(),
	}
}

func (s *stand) require(features []hwabstraction.Feature) {
	s.Helper()
	for _, c := range s.dev.Capabilities().Features {
		if c.Answer == hwabstraction.No && slices.Contains(features, c.Feature) {
			s.Skipf("the device has no %s: %s", c.Feature, c.Reason)
		}
	}
}

// owner is a stamp of a test's VM.
func owner(vm byte, epoch uint32) hwabstraction.Stamp {
	return hwabstraction.Stamp{Owner: [16]byte{0xd0, 15: vm}, Epoch: epoch}
}

// apply carries out changes and checks the form of the answer.
func (s *stand) apply(changes ...hwabstraction.Change) []hwabstraction.Result {
	s.Helper()
	results := s.dev.Apply(s.Context(), changes)
	if len(results) != len(changes) {
		s.Fatalf("Apply of %d changes gave %d results", len(changes), len(results))
	}
	for i, r := range results {
		if r.ID != changes[i].Target() {
			s.Fatalf("result %d is about %s, the change about %s", i, r.ID, changes[i].Target())
		}
		if none := changes[i].Delete || r.Err != nil; none != (r.Placement == hwabstraction.PlacementNone) {
			s.Errorf("result for %s: placement %s with error %v", r.ID, r.Placement, r.Err)
		}
	}
	return results
}

// put makes rules be and fails the test where the device refuses one.
func (s *stand) put(rules ...hwabstraction.Rule) {
	s.Helper()
	changes := make([]hwabstraction.Change, len(rules))
	for i, r := range rules {
		changes[i] = hwabstraction.Put(r)
	}
	s.change(changes...)
}

// remove deletes rules under their own stamps.
func (s *stand) remove(rules ...hwabstraction.Rule) {
	s.Helper()
	changes := make([]hwabstraction.Change, len(rules))
	for i, r := range rules {
		changes[i] = hwabstraction.Remove(r.ID(), r.Stamped())
	}
	s.change(changes...)
}

func (s *stand) change(changes ...hwabstraction.Change) {
	s.Helper()
	for _, r := range s.apply(changes...) {
		if r.Err != nil {
			s.Fatalf("%s: %v", r.ID, r.Err)
		}
	}
}

// do fails the test on the error of a call that must not fail.
func (s *stand) do(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

func (s *stand) arm(st hwabstraction.Stamp) { s.Helper(); s.do("Arm "+st.String(), s.dev.Arm(st)) }
func (s *stand) disarm(st hwabstraction.Stamp) {
	s.Helper()
	s.do("Disarm "+st.String(), s.dev.Disarm(st))
}
func (s *stand) activate(st hwabstraction.Stamp) {
	s.Helper()
	s.do("Activate "+st.String(), s.dev.Activate(st))
}

func (s *stand) group(st hwabstraction.Stamp) hwabstraction.GroupStatus {
	s.Helper()
	g, err := s.dev.Group(st)
	s.do("Group "+st.String(), err)
	return g
}

// rules reads the rules back, ordered by ID, placements left out.
func (s *stand) rules() []hwabstraction.RuleStatus {
	s.Helper()
	got, err := s.dev.Rules(s.Context())
	s.do("Rules", err)
	for i := range got {
		if got[i].Placement == hwabstraction.PlacementNone {
			s.Errorf("%s is told to be nowhere", got[i].Rule.ID())
		}
		got[i].Placement = hwabstraction.PlacementNone
	}
	slices.SortFunc(got, func(a, b hwabstraction.RuleStatus) int {
		return cmp.Compare(a.Rule.ID().String(), b.Rule.ID().String())
	})
	return got
}

// expectRules compares what the device holds with what it should.
func (s *stand) expectRules(want ...hwabstraction.RuleStatus) {
	s.Helper()
	slices.SortFunc(want, func(a, b hwabstraction.RuleStatus) int {
		return cmp.Compare(a.Rule.ID().String(), b.Rule.ID().String())
	})
	got := s.rules()
	if len(want) == 0 && len(got) == 0 {
		return
	}
	if diff := gocmp.Diff(want, got, byValue); diff != "" {
		s.Fatalf("rules (-want +got):\n%s", diff)
	}
}
