package scenario

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// authority is the lab's own certificate authority: agents report to the
// management node over mutual TLS. It ends with the process.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

// tlsFiles are what one program needs of it.
type tlsFiles struct{ CA, Cert, Key string }

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("scenario: authority: %w", err)
	}
	a := &authority{key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dpmip-lab"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	if a.der, err = x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key); err != nil {
		return nil, fmt.Errorf("scenario: authority: %w", err)
	}
	return a, nil
}

// issue writes a node's certificate, key and the authority's certificate into
// its directory. The name is what the certificate proves; at are its addresses
// as a server.
func (a *authority) issue(dir, name string, at ...netip.Addr) (tlsFiles, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tlsFiles{}, fmt.Errorf("scenario: certificate of %s: %w", name, err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, x := range at {
		c.IPAddresses = append(c.IPAddresses, net.IP(x.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return tlsFiles{}, fmt.Errorf("scenario: certificate of %s: %w", name, err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return tlsFiles{}, fmt.Errorf("scenario: key of %s: %w", name, err)
	}
	f := tlsFiles{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "node.crt"), Key: filepath.Join(dir, "node.key")}
	for _, p := range []struct {
		path, kind string
		der        []byte
	}{{f.CA, "CERTIFICATE", a.der}, {f.Cert, "CERTIFICATE", der}, {f.Key, "EC PRIVATE KEY", secret}} {
		if err := os.WriteFile(p.path, pem.EncodeToMemory(&pem.Block{Type: p.kind, Bytes: p.der}), 0o600); err != nil {
			return tlsFiles{}, err
		}
	}
	return f, nil
}
