// Package bundle packs, signs, verifies and unpacks updates of a card: a few
// programs with a signed manifest that names each one's size and SHA-256.
//
//	"dpmip-bundle 1\n" | length of the manifest, u32 | manifest, JSON |
//	ed25519 signature, 64 bytes | the files one after the other, gzip
//
// The signature covers "dpmip-bundle 1\n" and the manifest; the files are
// covered by the manifest. Nothing is decompressed before the signature is
// found good, and never more than the manifest says.
package bundle
