"""What somebody would write with Python: aiomqtt and aiohttp. Acknowledges what it has read, keeps nothing.

python3 peer.py BROKER_PORT URL
"""

import asyncio
import json
import sys

import aiohttp
import aiomqtt

PORT, URL = int(sys.argv[1]), sys.argv[2]
CONCURRENT_MAX = 256


async def send(client, http, slots, payload):
    async with slots:
        body = json.loads(payload)
        number, kind = body.pop("id"), body.pop("type")
        try:
            async with http.post(f"{URL}/msg/{kind}", json=body, headers={"apikey": "key"}) as response:
                answer = await response.json()
            if answer["code"] == 0:
                answer = {"id": number, "msgId": answer["data"]["msgId"]}
            else:
                answer = {"id": number, "error": answer["msg"]}
        except aiohttp.ClientError as error:
            answer = {"id": number, "error": str(error)}
        await client.publish("SendMessageResp", json.dumps(answer), qos=1)


async def main():
    slots, running = asyncio.Semaphore(CONCURRENT_MAX), set()
    connector = aiohttp.TCPConnector(limit=CONCURRENT_MAX)
    async with (
        aiomqtt.Client("127.0.0.1", PORT, identifier="python", clean_session=False) as client,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        await client.subscribe("SendMessage", qos=1)
        async for message in client.messages:
            task = asyncio.create_task(send(client, http, slots, message.payload))
            running.add(task)
            task.add_done_callback(running.discard)


asyncio.run(main())
