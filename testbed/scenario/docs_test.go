package scenario

import (
	"os"
	"strings"
	"testing"

	"github.com/dpmip/dpmip/testbed/topology"
)

// TestFabricPage: docs/fabric.md shows the configurations of the two data
// centres as they are run.
func TestFabricPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/fabric.md")
	if err != nil {
		t.Fatal(err)
	}
	p := topology.InterDC()
	tor, _ := p.Router(topology.ToRC)
	border, _ := p.Router(topology.Border1)
	spine, _ := p.Router(topology.Spine2)
	isis, bgp := interiorNamed(InteriorISIS), interiorNamed(InteriorBGP)
	for name, text := range map[string]string{
		"IS-IS": isis.of(isis.stub, "lo") + isis.of(isis.link, "up0") + isis.router(&p, tor), "IS-IS, the way out": isis.wayOut(&p, border), "IS-IS, what is told": isis.told,
		"BGP": bgp.router(&p, spine), "BGP, the way out": bgp.wayOut(&p, border), "BGP, what is told": bgp.told,

		"a ToR's FRR": frrConfig(&p, tor, interiors[0]), "a border's FRR": frrConfig(&p, border, interiors[0]), "a border's [bgp]": strings.TrimLeft(borderTables(&p, border), "\n"), "a border's nft": edgeRules(&p), "the policy of proofs": provedBetweenSites + "\n",
	} {
		if !strings.Contains(string(page), "```\n"+text+"```\n") && !strings.Contains(string(page), "```toml\n"+text+"```\n") {
			t.Errorf("docs/fabric.md does not show %s as it is:\n%s", name, text)
		}
	}
}
