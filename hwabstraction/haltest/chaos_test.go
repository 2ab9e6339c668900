package haltest

import "testing"

func TestChaosConforms(t *testing.T) {
	Run(t, func(t *testing.T) Rig { return NewChaosRig(Plan{MaxRules: 200, MaxFlows: 500}) })
}
