package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair makes a certificate that signs itself, for clients, and writes it and its key.
func writePair(t *testing.T, folder string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(folder, "own.pem"), filepath.Join(folder, "own.key")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", private)
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(certificate)
	return certFile, keyFile, pool
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Goal: points reach a server behind TLS that has a certificate of a private authority and wants one of ours,
// compressed. Method: such a server, and a gateway whose configuration names the files.
func TestSinkBehindTLS(t *testing.T) {
	folder := t.TempDir()
	certFile, keyFile, clients := writePair(t, folder)
	bodies := make(chan string, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		bodies <- r.Header.Get("Content-Encoding")
		w.WriteHeader(http.StatusNoContent)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile := filepath.Join(folder, "ca.pem")
	writePEM(t, caFile, "CERTIFICATE", server.Certificate().Raw)
	g, port := startTowards(t, http.NotFoundHandler(), fmt.Sprintf(
		"version: 1}, {name: safe, urls: [%q], database: d, gzip: true, tls: {ca_file: %q, cert_file: %q, "+
			"key_file: %q}}]\ntenants: [{name: t, sink: safe}]\n#[{", server.URL, caFile, certFile, keyFile))
	sendTo(t, port, "m v=1 1\nm v=2 2\n")
	until(t, "the points are written", func() bool { return g.Snapshot().Sinks[1].Points.Written == 2 })
	if encoding := <-bodies; encoding != "gzip" {
		t.Errorf("the body's encoding is %q", encoding)
	}
	sinks := g.Snapshot().Sinks
	if !sinks[1].Up || sinks[1].Name != "safe" || sinks[0].Points.Stored != 0 {
		t.Errorf("%+v", sinks)
	}
}
