import time

import httpx
import psutil
import ray

from tests.service.fronts import front


def test_x(service, s3, bucket, tmp_path):
    import os
    from pathlib import Path
    (Path(os.environ["HOME"])/".aws").mkdir()
    (Path(os.environ["HOME"])/".aws/credentials").write_text("[default]\naws_access_key_id = svc-access-key\naws_secret_access_key = svc-secret-key-that-must-never-be-logged\n")
    t=time.time()
    cache={"store":{"kind":"s3","bucket":"music","endpoint_url":"http://127.0.0.1:1","region":"us-east-1","addressing":"path"},"memory_size":0,"read_timeout_s":1.0,"write_timeout_s":2.0}
    with front(service,"s3",cache=cache,records={"url":f"sqlite:///{tmp_path}/r.sqlite"}) as f:
        print("front", time.time()-t)
        with httpx.Client(base_url=f.url,timeout=60,trust_env=False) as c:
            for i in range(4):
                for mode in ("use","off"):
                    t=time.time(); r=c.post("/v1/music",json={"prompt":"x","music_length_ms":2000,"seed":5,"cache":mode}); print(r.status_code, r.headers.get("x-cache"), len(r.content), round(time.time()-t,3), r.headers.get("server-timing"))
        logs=Path(ray._private.worker._global_node.get_logs_dir_path())
        os.system(f"grep -rl 'cache: ' {logs} ; grep -rh 'cache: ' {logs}; ls {logs}/serve")
        for p in psutil.Process().children(recursive=True):
            if "ServeReplica" in " ".join(p.cmdline()): print(p.cmdline()[0], p.cpu_times().user, p.memory_info().rss//2**20)
        t=time.time()
    print("deleted", time.time()-t)
