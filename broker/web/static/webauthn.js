// Asks the browser for a security key and sends its answer with the form. The
// options come from the page: PublicKeyCredential…OptionsJSON of WebAuthn level 3.
'use strict';
for (const box of document.querySelectorAll('[data-register], [data-ask]')) {
  if (!window.PublicKeyCredential) continue;
  box.hidden = false;
  const told = box.querySelector('.told');
  const bytes = (s) => Uint8Array.from(atob(s.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
  const text = (b) => btoa(String.fromCharCode(...new Uint8Array(b))).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
  const credentials = (list) => (list || []).map((c) => ({ ...c, id: bytes(c.id) }));
  const run = async () => {
    told.textContent = 'Follow what your browser says …';
    try {
      const register = 'register' in box.dataset;
      const o = JSON.parse(register ? box.dataset.register : box.dataset.ask);
      o.challenge = bytes(o.challenge);
      let c;
      if (register) {
        o.user.id = bytes(o.user.id);
        o.excludeCredentials = credentials(o.excludeCredentials);
        c = await navigator.credentials.create({ publicKey: o });
      } else {
        o.allowCredentials = credentials(o.allowCredentials);
        c = await navigator.credentials.get({ publicKey: o });
      }
      const response = { clientDataJSON: text(c.response.clientDataJSON) };
      if (register) {
        response.attestationObject = text(c.response.attestationObject);
        response.transports = c.response.getTransports ? c.response.getTransports() : [];
      } else {
        response.authenticatorData = text(c.response.authenticatorData);
        response.signature = text(c.response.signature);
        if (c.response.userHandle) response.userHandle = text(c.response.userHandle);
      }
      const form = box.closest('form');
      form.elements.answer.value = JSON.stringify({ id: c.id, rawId: text(c.rawId), type: c.type, response, clientExtensionResults: c.getClientExtensionResults() });
      told.textContent = 'The key answered.';
      if (register && !form.reportValidity()) return; // the password is still missing
      const code = form.elements.code;
      if (code) code.required = false;
      form.submit();
    } catch (e) {
      told.textContent = 'That did not work: ' + e.message;
    }
  };
  box.querySelector('button').addEventListener('click', run);
}
