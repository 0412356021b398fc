"""`make run`: the service on this machine, from a deploy file to the first clip, and its end without remains.

make ─ runner (__main__)          options, terminal, the clip; imports no Ray
         ├─ guardian              kills what carries this run's mark once the runner is gone, however it went
         └─ driver (deployment)   checks the file, starts Ray, deploys, reports
              └─ Ray and the replicas
"""
