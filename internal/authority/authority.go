package authority

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

// Authority signs certificates for mutual TLS.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

// lifetime is that of the authority, and of certificates unless told otherwise.
const lifetime = 30 * 24 * time.Hour

// New makes an authority of that name.
func New(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	a := &Authority{key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	if a.der, err = x509.CreateCertificate(rand.Reader, a.cert, a.cert, &key.PublicKey, key); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	return a, nil
}

// Files are what one program needs: the authority's certificate, its own and its
// key.
type Files struct{ CA, Cert, Key string }

// Subject is whom a certificate is for.
type Subject struct {
	Name  string       // what the certificate proves
	At    []netip.Addr // addresses of a server
	Until time.Time    // zero: as long as the authority
}

// Issue makes a certificate and writes what its holder needs into the directory,
// as PREFIXca.crt, PREFIXnode.crt and PREFIXnode.key.
func (a *Authority) Issue(dir, prefix string, s Subject) (Files, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Files{}, fmt.Errorf("authority: certificate of %s: %w", s.Name, err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: s.Name}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if !s.Until.IsZero() {
		c.NotBefore, c.NotAfter = s.Until.Add(-lifetime), s.Until
	}
	for _, x := range s.At {
		c.IPAddresses = append(c.IPAddresses, net.IP(x.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return Files{}, fmt.Errorf("authority: certificate of %s: %w", s.Name, err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Files{}, fmt.Errorf("authority: key of %s: %w", s.Name, err)
	}
	at := func(name string) string { return filepath.Join(dir, prefix+name) }
	f := Files{CA: at("ca.crt"), Cert: at("node.crt"), Key: at("node.key")}
	for _, p := range []struct {
		path, kind string
		der        []byte
	}{{f.CA, "CERTIFICATE", a.der}, {f.Cert, "CERTIFICATE", der}, {f.Key, "EC PRIVATE KEY", secret}} {
		if err := os.WriteFile(p.path, pem.EncodeToMemory(&pem.Block{Type: p.kind, Bytes: p.der}), 0o600); err != nil {
			return Files{}, fmt.Errorf("authority: %w", err)
		}
	}
	return f, nil
}
