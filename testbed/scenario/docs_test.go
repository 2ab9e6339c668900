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
	for name, text := range map[string]string{
		"a ToR's FRR": frrConfig(&p, tor), "a border's FRR": frrConfig(&p, border), "a border's [bgp]": strings.TrimLeft(borderTables(&p, border), "\n"), "a border's nft": edgeRules(&p), "the policy of proofs": provedBetweenSites + "\n",
	} {
		if !strings.Contains(string(page), "```\n"+text+"```\n") && !strings.Contains(string(page), "```toml\n"+text+"```\n") {
			t.Errorf("docs/fabric.md does not show %s as it is:\n%s", name, text)
		}
	}
}
