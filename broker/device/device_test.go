package device_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/posternhq/postern/broker/api"
	"github.com/posternhq/postern/broker/device"
)

func TestProof(t *testing.T) {
	key, err := device.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	prove := func(name, csr string) *api.DeviceProof {
		p, err := device.Prove(key, name, csr)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	d, err := device.Verify(*prove("laptop", "csr"), "csr")
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(d.ID) || d.Name != "laptop" {
		t.Fatalf("%+v, %v", d, err)
	}
	if again, _ := device.Verify(*prove("", "another"), "another"); again.ID != d.ID {
		t.Errorf("the same machine is %s, then %s", d.ID, again.ID)
	}
	other, err := device.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := device.Prove(other, "", "csr")
	if err != nil {
		t.Fatal(err)
	}
	if o, err := device.Verify(*theirs, "csr"); err != nil || o.ID == d.ID {
		t.Errorf("another machine: %+v, %v", o, err)
	}

	for name, change := range map[string]func(p *api.DeviceProof){
		"another's key":      func(p *api.DeviceProof) { p.Key = theirs.Key },
		"no key":             func(p *api.DeviceProof) { p.Key = nil },
		"no signature":       func(p *api.DeviceProof) { p.Signature = nil },
		"for another CSR":    func(p *api.DeviceProof) { p.Signature = prove("", "another").Signature },
		"a name of controls": func(p *api.DeviceProof) { p.Name = "lap\x1b[2Jtop" },
		"a long name":        func(p *api.DeviceProof) { p.Name = strings.Repeat("x", 65) },
	} {
		p := *prove("laptop", "csr")
		change(&p)
		if d, err := device.Verify(p, "csr"); err == nil {
			t.Errorf("%s: taken for %+v", name, d)
		}
	}
	if p := prove("  A\tlaptop\n"+strings.Repeat("é", 50), "csr"); len(p.Name) > 64 || !strings.HasPrefix(p.Name, "Alaptopé") {
		t.Errorf("name %q", p.Name)
	}
	if _, err := device.Prove([]byte("nonsense"), "", "csr"); err == nil {
		t.Error("nonsense is a key")
	}
}
