package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"culvert/controlplane/config"
)

// tlsOf reads the certificates that a sink names; nil where it names none, which trusts what the system does.
func tlsOf(c *config.TLS) (*tls.Config, error) {
	if *c == (config.TLS{}) {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(credentialPath(c.CAFile))
		if err != nil {
			return nil, fmt.Errorf("read tls.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read tls.ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		own, err := tls.LoadX509KeyPair(credentialPath(c.CertFile), credentialPath(c.KeyFile))
		if err != nil {
			return nil, fmt.Errorf("read tls.cert_file and tls.key_file: %w", err)
		}
		t.Certificates = []tls.Certificate{own}
	}
	return t, nil
}
