// Package haltest holds what proves a backend of hwabstraction: the
// conformance suite that every backend passes (Run), the rig of network
// namespaces it runs in (NewNamespaceRig), and Chaos, a Device in memory that
// keeps its state faithfully, forwards packets, and fails on purpose.
//
// A backend's test is short:
//
//	func TestConformance(t *testing.T) {
//		haltest.Run(t, func(t *testing.T) haltest.Rig {
//			return haltest.NewNamespaceRig(t, func(e haltest.Env) (hwabstraction.Device, error) {
//				return software.Open(software.Config{ /* from e */ })
//			})
//		})
//	}
package haltest
