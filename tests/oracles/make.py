"""Writes callbacks that wechatpy has encrypted and signed, and ones signed as Yunxin signs, one JSON object a line."""

import hashlib
import json
import random
import string
import sys

import xmltodict
from wechatpy.enterprise.crypto import PrpCrypto, WeChatCrypto
from wechatpy.crypto import _get_signature

LETTERS = string.ascii_letters + string.digits
RECEIVERS = ["ww1234567890abcdef", "tj4asffe99e54c0f4c", ""]
# Every length of padding in every form, and characters of one to four bytes.
ALPHABETS = [string.ascii_letters, "企业微信回调", "aä你😀<&\"'", string.printable]


def word(length):
    return "".join(random.choice(LETTERS) for _ in range(length))


def text(length):
    return "".join(random.choice(random.choice(ALPHABETS)) for _ in range(length))


def echo(length):
    token, key, receiver = word(random.randint(1, 32)), word(43), random.choice(RECEIVERS)
    plain, timestamp, nonce = text(length), str(random.randint(10**9, 2 * 10**9)), word(random.randint(1, 20))
    crypto = WeChatCrypto(token, key, receiver)
    sealed = PrpCrypto(crypto.key).encrypt(plain, receiver).decode()
    query = {"timestamp": timestamp, "nonce": nonce, "echostr": sealed}
    query["msg_signature"] = _get_signature(token, timestamp, nonce, sealed)
    return {"kind": "echo", "token": token, "key": key, "receiver": receiver, "query": query, "plain": plain}


def post(length):
    token, key, receiver = word(random.randint(1, 32)), word(43), random.choice(RECEIVERS)
    plain, timestamp, nonce = text(length).strip().replace("\r", "\n"), str(random.randint(10**9, 2 * 10**9)), word(10)
    plain = "".join(character for character in plain if character >= " " or character in "\n\t").strip()
    message = xmltodict.unparse({"xml": {"InfoType": "something_new", "Content": plain}})
    reply = WeChatCrypto(token, key, receiver).encrypt_message(message, nonce, timestamp)
    signature = xmltodict.parse(reply)["xml"]["MsgSignature"]
    query = {"timestamp": timestamp, "nonce": nonce, "msg_signature": signature}
    return {"kind": "post", "token": token, "key": key, "receiver": receiver, "query": query, "body": reply, "plain": plain}


def yunxin(length):
    secret, at = word(12), str(random.randint(10**12, 2 * 10**12))
    body = json.dumps({"eventType": random.randint(7, 19), "tname": text(length)}, ensure_ascii=random.random() < 0.5)
    md5 = hashlib.md5(body.encode()).hexdigest()
    check_sum = hashlib.sha1((secret + md5 + at).encode()).hexdigest()
    headers = {"appkey": "key", "curtime": at, "md5": md5, "checksum": check_sum}
    return {"kind": "yunxin", "secret": secret, "headers": headers, "body": body, "plain": json.loads(body)["tname"]}


for _round in range(2):
    for length in range(101):
        for make in (echo, post, yunxin):
            print(json.dumps({"by": "wechatpy", **make(length)}))
