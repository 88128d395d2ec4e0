// Writes callbacks that WeCom's own library has encrypted and signed, one JSON object a line.
import { createRequire } from "node:module";
import { randomInt } from "node:crypto";

// From the folder that it was installed in.
const { encrypt, decrypt, getSignature } = createRequire(`${process.argv[2]}/`)("@wecom/crypto");

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const receivers = ["ww1234567890abcdef", "tj4asffe99e54c0f4c", ""];
const characters = [..."abcxyz 019", ..."企业微信回调", ..."ä😀'\"", "&", "<", "\n"];
const pick = (list) => list[randomInt(list.length)];
const word = (length) => Array.from({ length }, () => pick(letters)).join("");
const text = (length) => Array.from({ length }, () => pick(characters)).join("");

for (let round = 0; round < 2; round += 1) {
  for (let length = 0; length <= 100; length += 1) {
    for (const kind of ["echo", "post"]) {
      const [token, key, receiver] = [word(randomInt(1, 33)), word(43), pick(receivers)];
      const [timestamp, nonce] = [String(randomInt(10 ** 9, 2 * 10 ** 9)), word(randomInt(1, 20))];
      const plain = kind === "echo" ? text(length) : text(length).trim();
      const message =
        kind === "echo"
          ? plain
          : `<xml><ToUserName><![CDATA[${receiver}]]></ToUserName><Event><![CDATA[something_new]]></Event>` +
            `<Content><![CDATA[${plain}]]></Content></xml>`;
      const sealed = encrypt(key, message, receiver);
      if (decrypt(key, sealed).message !== message) throw new Error(`it does not read what it wrote: ${message}`);
      const query = { timestamp, nonce, msg_signature: getSignature(token, timestamp, nonce, sealed) };
      if (kind === "echo") query.echostr = sealed;
      const body = `<xml><ToUserName><![CDATA[${receiver}]]></ToUserName><Encrypt><![CDATA[${sealed}]]></Encrypt></xml>`;
      console.log(JSON.stringify({ by: "@wecom/crypto", kind, token, key, receiver, query, body, plain }));
    }
  }
}
