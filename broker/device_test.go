package broker

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/client"
	"github.com/posternhq/postern/broker/device"
	"github.com/posternhq/postern/broker/identity/mfa"
	"github.com/posternhq/postern/events"
)

// machine is somebody's, with a key of its own.
type machine struct {
	t   *testing.T
	key []byte
}

func newMachine(t *testing.T) machine {
	t.Helper()
	key, err := device.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return machine{t, key}
}

func (m machine) prove(csr string) *api.DeviceProof {
	m.t.Helper()
	p, err := device.Prove(m.key, "laptop", csr)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// id is as a certificate names it.
func (m machine) id(cert api.Certificate) string {
	m.t.Helper()
	block, _ := pem.Decode([]byte(cert.Certificate))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		m.t.Fatal(err)
	}
	return c.Subject.SerialNumber
}

// login signs in with a password.
func (m machine) login(b *Broker, user string) (*client.Client, api.Certificate, error) {
	m.t.Helper()
	key, csr := newCSR(m.t, elliptic.P256())
	cert, err := stranger(m.t, b).Login(m.t.Context(), api.Login{User: user, Password: secret, CSR: csr, Device: m.prove(csr)})
	if err != nil {
		return nil, cert, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		m.t.Fatal(err)
	}
	cfg, err := api.Identity{KeyPEM: pemOf("PRIVATE KEY", der), CertPEM: []byte(cert.Certificate), CAPEM: []byte(cert.CA)}.TLSConfig()
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := client.New("https://"+b.Addr(), cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(c.Close)
	return c, cert, nil
}

// A machine is in the certificate, in lists and in events, and a lock on it stops
// its certificates, what they started, and sign-ins from it; no other machine's.
func TestDeviceLock(t *testing.T) {
	b, j, clk := demoBroker(t)
	admin := as(t, b, "admin")
	if err := b.SetPassword(t.Context(), "admin", "alice", secret); err != nil {
		t.Fatal(err)
	}
	laptop, desktop := newMachine(t), newMachine(t)
	on, cert, err := laptop.login(b, "alice")
	if err != nil {
		t.Fatal(err)
	}
	id := laptop.id(cert)
	other, theirs, err := desktop.login(b, "alice")
	if err != nil || id == "" || desktop.id(theirs) == id {
		t.Fatalf("devices %q and %q, %v", id, desktop.id(theirs), err)
	}
	if st, err := on.Status(t.Context()); err != nil || st.Device != id {
		t.Errorf("status: %+v, %v", st, err)
	}
	s, err := on.StartSession(t.Context(), api.StartSession{App: "awsconsole", AWSRole: "ReadOnly"})
	if err != nil || s.Device != id {
		t.Fatalf("session: %+v, %v", s, err)
	}
	ins, err := admin.Signins(t.Context(), "alice")
	from := func(in api.Signin) bool { return in.Device == id && in.DeviceName == "laptop" }
	if err != nil || len(ins) != 2 || !slices.ContainsFunc(ins, from) {
		t.Errorf("sign-ins: %+v, %v", ins, err)
	}

	if _, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "device", Name: "laptop"}}); code(err) != api.CodeNotFound {
		t.Errorf("a lock on a device that is none: %v", err)
	}
	lock, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "device", Name: id}, Message: "lost"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := on.Status(t.Context()); code(err) != api.CodeLocked {
		t.Errorf("its certificate: %v", err)
	}
	if _, _, err := laptop.login(b, "alice"); code(err) != api.CodeLocked {
		t.Errorf("a sign-in from it: %v", err)
	}
	failed := find[*events.SigninFailed](history(t, j))
	if len(failed) != 1 || failed[0].Device != id || failed[0].User != "alice" {
		t.Errorf("failed: %+v", failed)
	}
	if _, err := other.StartSession(t.Context(), api.StartSession{App: "awsconsole", AWSRole: "ReadOnly"}); err != nil {
		t.Errorf("another machine: %v", err)
	}
	if err := admin.LiftLock(t.Context(), lock.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := on.Status(t.Context()); err != nil {
		t.Errorf("lifted: %v", err)
	}

	// A proof is for one CSR.
	_, csr := newCSR(t, elliptic.P256())
	_, err = stranger(t, b).Login(t.Context(), api.Login{User: "alice", Password: secret, CSR: csr, Device: laptop.prove("another")})
	if code(err) != api.CodeInvalid {
		t.Errorf("a proof of another sign-in: %v", err)
	}

	// The browser's way has it too, and the lock with it.
	totp := enrol(t, b, clk, "alice")
	clk.advance(time.Minute)
	inBrowser := func() (api.Certificate, error) {
		_, csr := newCSR(t, elliptic.P256())
		anybody := stranger(t, b)
		to, err := anybody.BrowserLogin(t.Context(), api.BrowserLogin{CSR: csr, Port: 12345, Challenge: challenge(), Device: laptop.prove(csr)})
		if err != nil {
			t.Fatal(err)
		}
		v := newVisitor(t, b)
		v.visit(to.URL)
		v.submit("user", "alice", "password", secret)
		v.sees(http.StatusOK, "Your password was right.")
		clk.advance(time.Minute)
		v.submit("code", mfa.Code(totp, mfa.Step(clk.now())))
		return anybody.FinishLogin(t.Context(), api.FinishLogin{Code: v.code("12345"), Verifier: verifier})
	}
	if cert, err := inBrowser(); err != nil || laptop.id(cert) != id {
		t.Errorf("in the browser: device %q, %v", laptop.id(cert), err)
	}
	if _, err := admin.PlaceLock(t.Context(), api.CreateLock{Target: api.LockTarget{Kind: "device", Name: id}}); err != nil {
		t.Fatal(err)
	}
	if _, err := inBrowser(); code(err) != api.CodeLocked {
		t.Errorf("in the browser, locked: %v", err)
	}
}
